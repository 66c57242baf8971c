"""What a request was answered is known when it is sent again, and only then: by the supervisor, or by its client."""

from __future__ import annotations

from deora.store.answers import KEPT_ANSWERS_S, KEPT_GROUPS
from tests.fakes.store import Answer, StoreFile, encode_commit, encode_operation, update

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


def test_only_the_last_groups_of_a_store_are_kept(store: StoreFile) -> None:
    for ident in range(KEPT_GROUPS + 20):
        store.commit(INCREMENT, ident=ident)
        store.commit(INCREMENT, ident=ident, key=b"%d" % ident, fingerprint=b"f")  # kept under its key
    assert store.rows("SELECT min(id), max(id), count(*) FROM requests") == [(21, KEPT_GROUPS + 20, KEPT_GROUPS)]
    store.reopen()
    assert store.commit(INCREMENT, ident=20, resent=True).commit == 41
    # What the next one answers does not push out what the last one left.
    for ident in range(9000, 9000 + KEPT_GROUPS + 5):
        store.commit(INCREMENT, ident=ident)
    left, own = store.rows("SELECT count(*) FROM requests GROUP BY lowest >= 9000 ORDER BY lowest")
    assert (left, own) == ((KEPT_GROUPS,), (KEPT_GROUPS,))


# -- under the key that a refusal named

ME, OTHER = b"me", b"other"


def hold(ident: int, identity: bytes = ME) -> bytes:
    return encode_operation(ident + 7000, "hold", ident, identity, b"scoped-%d" % ident, b"f")


def repeat(store: StoreFile, named: int, identity: bytes = ME) -> Answer:
    """What a client is answered that repeats a request under the key that names it."""
    return store.commit(INCREMENT, ident=9999, key=b"scoped-%d" % named, fingerprint=b"f", repeats=(named, identity))


def write(ident: int, identity: bytes = ME) -> bytes:
    return encode_commit(ident, [INCREMENT], fingerprint=identity)


def others(store: StoreFile, count: int = KEPT_GROUPS + 1) -> None:
    """Groups of other requests."""
    for ident in range(20_000, 20_000 + count):
        store.commit(INCREMENT, ident=ident)


def test_a_slow_answer_is_held_for_as_long_as_under_a_clients_key(store: StoreFile) -> None:
    first = store.handle(write(5)).answers[5]
    assert store.handle(hold(5)).answers == {}
    others(store)
    assert repeat(store, 5) == repeat(store, 5) == first
    store.reopen()
    store.clock.advance(KEPT_ANSWERS_S - 1)
    assert repeat(store, 5) == first


def test_the_write_its_holding_and_its_repetition_come_in_one_group(store: StoreFile) -> None:
    again = encode_commit(6, [INCREMENT], key=b"scoped-5", fingerprint=b"f", repeats=(5, ME))
    answers = store.handle(write(5), hold(5), again).answers
    assert answers[5] == answers[6]
    assert store.view("a/1") == {"n": 1}


def test_what_was_never_committed_is_done_when_it_is_repeated(store: StoreFile) -> None:
    store.handle(hold(5))
    assert repeat(store, 5).commit == 1
    assert repeat(store, 5).commit == 1


def test_what_a_store_left_behind_is_known_for_a_day_of_running_time(store: StoreFile) -> None:
    # The store ended with the answer, and who was to have it held as well.
    first = store.handle(write(5), write(6)).answers[5]
    for _ in range(3):
        store.reopen()
        others(store)
    assert repeat(store, 5) == first
    others(store)
    assert repeat(store, 5) == first
    store.clock.advance(KEPT_ANSWERS_S)
    while store.service.housekeep()[1]:
        pass
    assert store.rows("SELECT count(*) FROM requests") == store.rows("SELECT count(*) FROM answers") == [(0,)]


def test_a_number_that_was_guessed_shows_nothing(store: StoreFile) -> None:
    first = store.handle(write(5)).answers[5]
    store.reopen()
    assert repeat(store, 5, OTHER).commit == 2
    assert store.handle(hold(5, OTHER)).answers == {}
    own = encode_commit(7, [INCREMENT], key=b"mine", fingerprint=b"f", repeats=(5, ME))
    assert store.handle(own).answers[7] == first
