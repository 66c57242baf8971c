"""What the store lets go of, by running time, and what it never does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from deora.store.answers import KEPT_ANSWERS_S, PASS_S
from deora.store.housekeeping import ROWS_AT_ONCE, SLEW_PART
from deora.store.service import Settings
from tests.fakes.recount import check_figures
from tests.fakes.store import StoreFile, delete, encode_commit, set_, settings_with

MakeStore = Callable[[Settings], StoreFile]

HOUR_S = 3600
YEAR_S = 365 * 24 * HOUR_S


def tidy(store: StoreFile) -> int:
    """Steps until nothing more is to do at once; how many it took."""
    steps = 1
    while store.service.housekeep()[1]:
        steps += 1
        assert steps < 100
    return steps


def count(store: StoreFile, table: str) -> int:
    """The rows of a table."""
    [(rows,)] = store.rows(f"SELECT count(*) FROM {table}")
    return int(rows)


def write_many(store: StoreFile, number: int, *, size_bytes: int = 0) -> None:
    """So many commits, in groups."""
    for start in range(0, number, 250):
        idents = range(10_000 + start, 10_000 + min(start + 250, number))
        store.handle(*(encode_commit(ident, [set_(f"a/{ident % 7}", {"t": "x" * size_bytes})]) for ident in idents))


# -- done entries


def test_done_entries_are_kept_for_the_retention(make_store: MakeStore) -> None:
    store = make_store(settings_with(retention_s=24 * HOUR_S))
    store.commit(set_("a/1", {}))
    store.clock.advance(24 * HOUR_S)
    store.commit(set_("a/1", {"n": 1}))
    batch = store.claim(max_writes=1)
    assert batch is not None
    store.settle(batch)
    # Kept from the settlement on, not from the write.
    store.clock.advance(23 * HOUR_S)
    tidy(store)
    assert store.states() == {1: 1, 2: 0}
    store.clock.advance(2 * HOUR_S)
    tidy(store)
    assert store.states() == {2: 0}
    check_figures(store.db, store.service.outbox)


def test_the_wall_clock_prunes_nothing(make_store: MakeStore) -> None:
    store = make_store(settings_with(retention_s=HOUR_S))
    store.commit(set_("a/1", {}))
    store.deliver()
    store.clock.wall_now_us *= 2
    tidy(store)
    store.reopen()
    tidy(store)
    assert store.states() == {1: 1}


def test_what_waits_or_is_dead_is_never_pruned(make_store: MakeStore) -> None:
    store = make_store(settings_with(retention_s=0))
    for path in ("a/1", "a/2", "a/3"):
        store.commit(set_(path, {}))
    dead = store.kill()
    assert store.claim(max_writes=1) is not None
    store.clock.advance(1000 * 24 * HOUR_S)
    tidy(store)
    assert sorted(store.states().values()) == [0, 0, 2]
    assert store.states()[dead] == 2


def test_many_done_entries_go_a_few_at_a_time(make_store: MakeStore) -> None:
    store = make_store(settings_with(max_entries=10_000, retention_s=HOUR_S))
    write_many(store, 2 * ROWS_AT_ONCE + 10)
    store.deliver()
    store.clock.advance(2 * HOUR_S)
    store.service.housekeep()
    assert count(store, "entries") == ROWS_AT_ONCE + 10
    assert tidy(store) >= 2
    assert count(store, "entries") == 0
    check_figures(store.db, store.service.outbox)
    # Another pass comes later, not at once.
    write_many(store, 10)
    store.deliver()
    tidy(store)
    assert count(store, "entries") == 10


def test_done_entries_go_early_where_the_queue_s_share_of_the_disk_is_used_up(make_store: MakeStore) -> None:
    """They never cause a 507: the oldest go first, as many as are needed."""
    store = make_store(settings_with(max_bytes=100_000))
    write_many(store, 60, size_bytes=1000)
    store.deliver()
    write_many(store, 60, size_bytes=1000)
    outbox = store.service.outbox
    assert outbox.live_bytes() + outbox.done_bytes() > 100_000
    tidy(store)
    assert outbox.live_bytes() + outbox.done_bytes() <= 100_000
    assert 0 < outbox.upstreams["primary"].done < 60
    assert max(ident for ident, state in store.states().items() if state == 1) == 60
    assert store.commit(set_("a/1", {})).status == 200
    check_figures(store.db, outbox)


def test_entries_of_an_upstream_that_is_no_longer_configured_are_pruned_too(make_store: MakeStore) -> None:
    store = make_store(settings_with(("primary", "secondary"), retention_s=HOUR_S))
    store.commit(set_("a/1", {}))
    store.deliver()
    store.deliver("secondary")
    store.reopen(settings_with(("primary",), retention_s=HOUR_S))
    store.clock.advance(2 * HOUR_S)
    tidy(store)
    assert store.states() == {}


# -- answers


def test_answers_to_keys_are_kept_for_a_day_of_running_time(store: StoreFile) -> None:
    store.commit(set_("a/1", {}), key=b"one", fingerprint=b"f")
    store.clock.advance(KEPT_ANSWERS_S - PASS_S)
    store.commit(set_("a/1", {}), key=b"two", fingerprint=b"f")
    tidy(store)
    assert count(store, "answers") == 2
    store.clock.advance(PASS_S)
    tidy(store)
    assert store.rows("SELECT key FROM answers") == [(b"two",)]


def test_many_answers_to_keys_are_looked_at_a_few_at_a_time(make_store: MakeStore) -> None:
    store = make_store(settings_with(max_entries=10_000))
    for start in range(0, 2 * ROWS_AT_ONCE, 250):
        keys = [b"%d" % number for number in range(start, start + 250)]
        store.handle(
            *(encode_commit(n, [set_("a/1", {})], key=key, fingerprint=b"f") for n, key in enumerate(keys, start))
        )
    store.clock.advance(KEPT_ANSWERS_S)
    store.commit(set_("a/1", {}), key=b"young", fingerprint=b"f")
    assert store.service.housekeep()[1]
    assert count(store, "answers") == ROWS_AT_ONCE + 1
    tidy(store)
    assert store.rows("SELECT key FROM answers") == [(b"young",)]
    # The next pass comes later, and begins at the first one again.
    store.clock.advance(PASS_S - 1)
    store.commit(set_("a/1", {}), key=b"0", fingerprint=b"f")
    store.clock.advance(KEPT_ANSWERS_S)
    tidy(store)
    assert count(store, "answers") == 0


# -- rows of documents


@pytest.mark.parametrize("twice", [False, True])
def test_the_row_of_a_deleted_document_goes_once_upstream_has_it_deleted(make_store: MakeStore, twice: bool) -> None:
    store = make_store(settings_with(("primary", "secondary") if twice else ("primary",)))
    store.commit(set_("a/1", {}))
    store.commit(delete("a/1"))
    tidy(store)
    assert count(store, "documents") == 1
    store.deliver()
    tidy(store)
    if twice:
        assert count(store, "documents") == 1
        store.deliver("secondary")
        tidy(store)
    assert count(store, "documents") == 0
    assert store.commit(set_("a/1", {"n": 1})).status == 201
    store.deliver()
    assert store.view("a/1") == {"n": 1}


def test_the_row_of_a_document_with_a_dead_entry_stays(make_store: MakeStore) -> None:
    store = make_store(settings_with(("primary", "secondary")))
    store.commit(delete("a/1"))
    store.deliver()
    dead = store.kill(upstream="secondary")
    tidy(store)
    assert count(store, "documents") == 1
    store.operate("drop", dead)
    tidy(store)
    assert count(store, "documents") == 0


def test_the_row_of_a_deleted_document_stays_while_copies_of_it_may_live(make_store: MakeStore) -> None:
    store = make_store(replace(settings_with(), tombstones_us=HOUR_S * 1_000_000))
    store.commit(delete("a/1"))
    store.deliver()
    store.clock.advance(HOUR_S)
    tidy(store)
    assert count(store, "documents") == 1
    store.clock.advance(HOUR_S // SLEW_PART)
    tidy(store)
    assert count(store, "documents") == 0


@pytest.mark.parametrize("jump_s", [-30 * YEAR_S, -24 * HOUR_S, -HOUR_S // 2, -2, 2, 24 * HOUR_S, 12 * YEAR_S])
@pytest.mark.parametrize("deleted_before", [True, False])
def test_a_wall_clock_that_jumps_does_not_shorten_that_and_at_most_doubles_it(
    make_store: MakeStore, jump_s: int, deleted_before: bool
) -> None:
    store = make_store(replace(settings_with(), tombstones_us=HOUR_S * 1_000_000))
    store.clock.advance(HOUR_S)
    if deleted_before:
        store.commit(delete("a/1"))
        store.deliver()
    store.clock.wall_now_us += jump_s * 1_000_000
    if not deleted_before:
        store.commit(delete("a/1"))
        store.deliver()
    for _ in range(6):
        tidy(store)
        assert count(store, "documents") == 1
        store.clock.advance(HOUR_S // 6)
    store.clock.advance(HOUR_S + HOUR_S // 2)
    tidy(store)
    assert count(store, "documents") == 0


def test_after_a_start_nobody_knows_what_the_wall_clock_did_before(make_store: MakeStore) -> None:
    store = make_store(replace(settings_with(), tombstones_us=HOUR_S * 1_000_000))
    store.commit(delete("a/1"))
    store.deliver()
    store.clock.wall_now_us += 24 * HOUR_S * 1_000_000
    store.reopen()
    tidy(store)
    assert count(store, "documents") == 1
    # A clock that is slewed has not jumped.
    for _ in range(HOUR_S + HOUR_S // SLEW_PART):
        store.clock.wall_now_us += 80_000
        store.clock.advance(1)
        store.service.housekeep()
    assert count(store, "documents") == 0


def test_housekeeping_has_nothing_to_say_when_there_is_nothing_to_do(store: StoreFile) -> None:
    store.handle()
    assert store.service.housekeep() == (b"", False)


def test_done_entries_go_before_their_time_where_the_disk_is_full(
    store: StoreFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        store.commit(set_(f"a/{number}", {}))
    store.deliver()
    store.service.housekeep()
    assert len(store.states()) == 5
    monkeypatch.setattr(store.service.space, "tend", lambda: None)
    store.service.space.is_short = True
    store.service.housekeep()
    assert store.states() == {}
    assert store.service.outbox.upstreams["primary"].done == 0
