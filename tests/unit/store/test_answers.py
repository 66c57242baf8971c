"""What a request was answered is known when it is sent again, and only then."""

from __future__ import annotations

from deora.store.answers import KEPT_GROUPS
from tests.fakes.store import StoreFile, encode_commit, update

INCREMENT = update("a/1", {"n": {"$increment": 1}}, upsert=True)


def test_the_next_store_knows_what_the_last_one_answered(store: StoreFile) -> None:
    frames = [encode_commit(ident, [INCREMENT]) for ident in (5, 6, 7)]
    first = store.handle(*frames).answers
    store.reopen()
    again = store.handle(*(encode_commit(ident, [INCREMENT], resent=True) for ident in (7, 5, 6))).answers
    assert again == first
    assert store.commit(INCREMENT).commit == 4


def test_what_is_sent_again_in_several_groups_is_known_in_each(store: StoreFile) -> None:
    first = store.handle(*(encode_commit(ident, [INCREMENT]) for ident in range(100))).answers
    store.reopen()
    for ident in range(100):
        assert store.commit(INCREMENT, ident=ident, resent=True) == first[ident]
        store.commit(INCREMENT, ident=1000 + ident)


def test_only_the_last_groups_are_kept(store: StoreFile) -> None:
    for ident in range(KEPT_GROUPS + 20):
        store.commit(INCREMENT, ident=ident)
        store.commit(INCREMENT, ident=ident, key=b"%d" % ident, fingerprint=b"f")  # kept under its key
    assert store.rows("SELECT min(id), max(id), count(*) FROM requests") == [(21, KEPT_GROUPS + 20, KEPT_GROUPS)]
    store.reopen()
    assert store.commit(INCREMENT, ident=20, resent=True).commit == 41
    store.commit(INCREMENT, ident=9999)
    [(last,)] = store.rows("SELECT max(id) FROM requests")
    assert last == KEPT_GROUPS + 21
