"""Upstream was restored: what becomes of entries, queues, documents and collections. The lane's part is tested in
tests/unit/replay/test_restored.py."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deora.outbox.figures import LOST
from deora.replay.coverage import Coverage
from deora.store import restored
from deora.store.service import Settings
from deora.store.view import Base
from tests.fakes.recount import check_figures, inherited, queue_rows, queued_entries, stored_queue_rows
from tests.fakes.store import Claimed, StoreFile, delete, encode_call, encode_commit, set_, settings_with, update

MakeStore = Callable[[Settings], StoreFile]


@pytest.fixture
def whole(tmp_path: Path) -> Iterator[StoreFile]:
    """A store that keeps `menu` whole, with two upstreams."""
    found = StoreFile(tmp_path / "store.db", replace(settings_with(("primary", "secondary")), replicate=("menu",)))
    yield found
    found.close()


def packed(coverage: Coverage) -> list[Any]:
    return [[None, coverage.watermark, coverage.ranges, coverage.refused]]


def covering(*numbers: int) -> Coverage:
    return Coverage().with_applied(numbers)


def restore(store: StoreFile, *covered: int, upstream: str = "primary") -> int:
    """Upstream turns out to have only the entries with these numbers; how many wait again."""
    cursor = packed(covering(*covered))
    survey = store.call("survey", upstream, cursor)
    assert survey is not None
    assert survey.value[0] == 0
    seq = store.service.outbox.upstreams[upstream].seq + 2
    answer = store.call("requeue", upstream, seq, "restored", cursor)
    assert answer is not None
    check_figures(store.db, store.service.outbox)
    check_queues(store)
    return int(answer.value)


def check_queues(store: StoreFile) -> None:
    """Every entry that has joined stands in its queues at its place, and is as urgent as what it holds up, or more."""
    heads, followers = stored_queue_rows(store.db)
    found = {head[2]: head[3] for head in heads} | {entry: priority for _, entry, priority, _ in followers}
    least = inherited(queued_entries(store.db))
    assert all(found[entry] >= priority for entry, priority in least.items())
    assert (heads, followers) == queue_rows(store.db, found)


def adopt(store: StoreFile, seq: int, *copies: tuple[str, bytes | None]) -> list[str]:
    answer = store.call("adopt", "primary", seq, [list(copy) for copy in copies])
    assert answer is not None
    again: list[str] = answer.value
    return again


def known(store: StoreFile, upstream: str = "primary") -> tuple[int, str]:
    row = store.service.outbox.upstreams[upstream]
    return row.seq, row.batch_id


def claimed(batch: Claimed | None) -> Claimed:
    assert batch is not None
    return batch


def increment(path: str) -> Any:
    return update(path, {"n": {"$increment": 1}}, upsert=True)


# -- entries


def test_entries_go_back_to_their_place(store: StoreFile) -> None:
    for number in range(6):
        store.commit(update(f"a/{number % 2}", {"log": {"$arrayUnion": [number]}}, upsert=True), priority=number % 3)
    store.deliver()
    store.commit(set_("a/0", {"late": True}), priority=9)
    store.commit(set_("a/1", {"late": True}), set_("a/0", {"late": True}))
    assert restore(store, 1, 4) == 4
    assert [state for _, state in sorted(store.states().items())] == [1, 0, 0, 1, 0, 0, 0, 0]
    assert claimed(store.claim()).numbers == [2, 3, 5, 6, 7, 8]


def test_what_was_in_flight_is_free_again(store: StoreFile) -> None:
    """Batches of both kinds: taken from the tail, and from the queues."""
    for number in range(6):
        store.commit(set_(f"a/{number % 2}", {"n": number}), priority=number)
    store.deliver()
    for number in range(6, 9):
        store.commit(set_("a/0", {"n": number}))
    lost = claimed(store.claim(max_writes=2))
    assert lost.numbers == [7, 8]
    assert restore(store, *range(1, 7)) == 0
    assert store.service.outbox.upstreams["primary"].inflight == 0
    batch = claimed(store.claim())
    assert (batch.numbers, batch.seq, batch.cursor_id) == ([7, 8, 9], lost.seq + 2, "restored")
    assert batch.id != lost.id


def test_what_upstream_has_after_all_is_done(store: StoreFile) -> None:
    """A second restore, of a younger backup: what waits or is dead may be there."""
    for number in range(4):
        store.commit(set_(f"a/{number}", {"n": number}))
    dead = store.kill()
    batch = claimed(store.claim(max_writes=1))
    assert batch.numbers == [2]
    assert restore(store, 1, 2, 3) == 0
    assert store.states() == {dead: 1, 2: 1, 3: 1, 4: 0}
    assert store.column("a/0", "dead") == store.column("a/2", "pending") == 0
    assert store.rows("SELECT * FROM dead_letters") == []
    assert store.deliver() == [4]


def test_an_entry_that_was_refused_in_another_life_of_upstream_is_sent(store: StoreFile) -> None:
    store.commit(set_("a/1", {}))
    store.deliver()
    cursor = packed(Coverage().with_refused(1))
    store.call("survey", "primary", cursor)
    answer = store.call("requeue", "primary", 5, "restored", cursor)
    assert answer is not None
    assert answer.value == 1


def test_nothing_is_handed_out_before_the_queue_is_in_step(store: StoreFile) -> None:
    store.commit(set_("a/1", {}))
    store.deliver()
    store.commit(set_("a/2", {}))
    store.call("survey", "primary", packed(Coverage()))
    assert known(store) == (1, LOST)
    assert store.claim() is None
    store.reopen()
    assert known(store) == (1, LOST)
    assert store.claim() is None
    assert restore(store) == 1
    assert store.deliver() == [1, 2]


def test_the_other_upstream_is_not_touched(whole: StoreFile) -> None:
    whole.commit(set_("a/1", {"n": 1}))
    for name in ("primary", "secondary"):
        whole.deliver(name)
    assert restore(whole, upstream="secondary") == 1
    assert (whole.column("a/1", "pending"), whole.column("a/1", "base_state")) == (0, Base.SAME)
    assert whole.claim() is None
    assert claimed(whole.claim("secondary")).numbers == [1]


def test_asked_once_more_it_has_been_done(store: StoreFile) -> None:
    store.commit(set_("a/1", {}))
    store.deliver()
    assert restore(store) == 1
    answer = store.call("requeue", "primary", 9, "restored", packed(Coverage()))
    assert answer is not None
    assert (answer.value, known(store)) == (0, (3, "restored"))
    store.deliver()
    assert survey(store)[0] == 0
    late = store.call("requeue", "primary", 3, "restored", packed(Coverage()))
    assert late is not None
    assert (late.value, known(store)) == (0, (4, LOST)), "of a replayer that was left behind"


def test_many_entries_take_many_steps_and_clients_come_between(
    store: StoreFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restored, "ROWS_AT_ONCE", 10)
    monkeypatch.setattr(restored, "WRITES_AT_ONCE", 3)
    for number in range(40):
        store.commit(increment(f"a/{number % 4}"))
    store.deliver()
    cursor = packed(covering(2, 3, 5))
    for operation, steps in ((("survey", "primary", cursor), 5), (("requeue", "primary", 9, "restored", cursor), 13)):
        answers = store.handle(encode_call(900, *operation)).answers
        taken = 1
        while 900 not in answers:
            assert store.service.wait_s(10) == 0
            ident = next(store.ids)
            answers = store.handle(encode_commit(ident, [increment("b/1")])).answers
            assert answers[ident].status == 200
            taken += 1
            check_figures(store.db, store.service.outbox)
        assert taken >= steps
    assert store.view("b/1")["n"] > 10
    assert store.deliver()[:4] == [1, 4, 6, 7]
    assert store.view("a/0") == {"n": 10}


@pytest.mark.parametrize("step", range(8))
def test_a_crash_at_any_step_is_made_good_by_beginning_anew(
    store: StoreFile, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    monkeypatch.setattr(restored, "ROWS_AT_ONCE", 4)
    monkeypatch.setattr(restored, "WRITES_AT_ONCE", 2)
    for number in range(8):
        store.commit(increment(f"a/{number % 3}"), increment("a/0"), priority=number % 3)
    store.deliver()
    store.commit(increment("a/0"))
    cursor = packed(covering(1, 2, 5))
    for operation in (("survey", "primary", cursor), ("requeue", "primary", 9, "restored", cursor)):
        store.handle(encode_call(900, *operation))
        for _ in range(step):
            store.handle()
        store.reopen()
        check_figures(store.db, store.service.outbox)
    restore(store, 1, 2, 5) if known(store)[1] == LOST else None
    assert [state for _, state in sorted(store.states().items())] == [1, 1, 0, 0, 1, 0, 0, 0, 0]
    assert store.column("a/0", "pending") == 6
    assert store.deliver() == [3, 4, 6, 7, 8, 9]
    assert store.view("a/0") == {"n": 12}


@pytest.mark.torture
def test_how_long_the_steps_are(make_store: MakeStore) -> None:
    """20,000 entries; prints the figures. Nothing is asserted of them but that none is a stall."""
    store = make_store(settings_with(max_entries=1_000_000, max_bytes=2**31))
    for start in range(0, 20_000, 1000):
        writes = (increment(f"a/{number % 5_000}") for number in range(start, start + 1000))
        store.handle(*(encode_commit(next(store.ids), [write]) for write in writes))
    store.deliver()
    store.reopen()
    for operation in (("survey", "primary", packed(Coverage())), ("requeue", "primary", 999, "r", packed(Coverage()))):
        ident, took_s, answers = next(store.ids), list[float](), dict[int, Any]()
        frames = [encode_call(ident, *operation)]
        while ident not in answers:
            began_s = time.monotonic()
            answers = store.handle(*frames).answers
            took_s.append(time.monotonic() - began_s)
            frames = []
        took_s.sort()
        median_ms, longest_ms = took_s[len(took_s) // 2] * 1000, took_s[-1] * 1000
        print(f"{operation[0]}: {len(took_s)} steps, {sum(took_s):.1f} s, {median_ms:.0f} ms, at most {longest_ms:.0f}")
        assert longest_ms < 5000
    assert store.service.outbox.upstreams["primary"].pending == 20_000


# -- what is missing


def pruned(store: StoreFile) -> None:
    """Five entries, of which the first three are kept no more."""
    for number in range(5):
        store.commit(set_(f"a/{number}", {}))
        store.deliver()
        store.clock.advance(24 * 3600 if number == 2 else 1)
    while store.service.housekeep()[1]:
        pass
    assert list(store.states()) == [4, 5]


def survey(store: StoreFile, *covered: int) -> Any:
    answer = store.call("survey", "primary", packed(covering(*covered)))
    assert answer is not None
    return answer.value


def test_what_neither_side_has_is_counted(store: StoreFile) -> None:
    pruned(store)
    [(accepted_us,)] = store.rows("SELECT created_us FROM entries WHERE id = 4")
    assert survey(store) == [3, accepted_us]
    assert survey(store, 1) == [2, accepted_us]
    assert survey(store, 1, 2, 3, 4, 5) == [0, None]
    store.commit(set_("a/9", {}))
    assert survey(store, 1, 3, 4, 5)[0] == 1


def test_what_is_lacking_is_kept_until_a_person_has_decided(store: StoreFile) -> None:
    pruned(store)
    assert survey(store)[0] == 3
    store.clock.advance(100 * 3600)
    store.reopen(settings_with(retention_s=1, max_bytes=1))
    for _ in range(5):
        assert store.service.housekeep()[1] is False, "and nothing spins"
    assert list(store.states()) == [4, 5]
    assert restore(store, 1, 2, 3) == 2


def test_the_loss_is_accepted_once_and_for_all(store: StoreFile) -> None:
    pruned(store)
    store.operate("pause", "primary", True)
    assert survey(store)[0] == 3
    assert store.operate("acceptLoss", "primary").value == {"upstream": "primary", "accepted": 3}
    assert store.service.outbox.upstreams["primary"].paused is False
    store.reopen()
    assert survey(store)[0] == 0
    assert restore(store) == 2
    assert store.deliver() == [4, 5]
    assert survey(store)[0] == 0
    refused = store.operate("acceptLoss", "primary").problem
    assert refused is not None
    assert refused.status == 409


def test_of_dead_entries_no_number_is_missing(store: StoreFile) -> None:
    for number in range(3):
        store.commit(set_(f"a/{number}", {}))
    dropped, retried, _ = (store.kill() for _ in range(3))
    store.operate("drop", dropped)
    store.operate("retry", retried, False)
    assert store.deliver() == [4]
    assert survey(store)[0] == 0
    assert store.rows("SELECT first, last FROM given_up ORDER BY first") == [(1, 1), (2, 2)]


# -- documents


def test_no_read_loses_a_write_and_no_increment_shows_twice(store: StoreFile) -> None:
    for _ in range(3):
        store.commit(increment("a/1"))
        store.deliver()
    old_copy = b'{"n":3}'
    restore(store, 1)
    assert (store.view("a/1"), store.column("a/1", "pending")) == ({"n": 3}, 2)
    assert adopt(store, 3, ("a/1", old_copy)) == ["a/1"], "a copy of before must not be put under what waits"
    assert adopt(store, 1, ("a/1", b'{"n":1}')) == ["a/1"], "nor one of before the cursor was moved"
    store.commit(increment("a/1"))
    batch = claimed(store.claim())
    assert batch.numbers == [2, 3]
    store.settle(batch)
    assert (store.view("a/1"), store.column("a/1", "base_state")) == ({"n": 4}, Base.LOST)
    # Upstream had 1 and another program's change, and has got two more since.
    assert adopt(store, batch.seq + 1, ("a/1", b'{"n":3,"theirs":true}')) == []
    assert store.view("a/1") == {"n": 4, "theirs": True}
    store.deliver()
    assert (store.view("a/1"), store.column("a/1", "base_state")) == ({"n": 4, "theirs": True}, Base.SAME)


def test_a_copy_replaces_the_view_once_all_is_settled(store: StoreFile) -> None:
    store.commit(set_("a/1", {"n": 1}))
    store.commit(set_("a/2", {"n": 1}))
    store.deliver()
    adopt(store, 1, ("a/1", b'{"n":1,"paid":true}'), ("a/2", b'{"n":1,"paid":true}'))
    restore(store, 2)
    store.deliver()
    assert store.view("a/1") == {"n": 1, "paid": True}, "nothing else is known yet"
    assert store.column("a/1", "base_state") == Base.LOST, "that it was settled tells nothing of the rest"
    seq = known(store)[0]
    assert adopt(store, seq, ("a/1", b'{"n":1}'), ("a/2", None)) == []
    assert (store.view("a/1"), store.view("a/2")) == ({"n": 1}, None)


def test_a_copy_that_there_is_none_counts_too(store: StoreFile) -> None:
    store.commit(set_("a/1", {"n": 1}))
    store.deliver()
    restore(store)
    store.kill("refused there")
    assert store.column("a/1", "base_state") == Base.LOST
    assert adopt(store, known(store)[0], ("a/1", None)) == []
    assert (store.column("a/1", "base_state"), store.view("a/1")) == (Base.HELD, {"n": 1})


def test_a_copy_of_what_was_in_flight_is_not_taken(store: StoreFile) -> None:
    store.commit(increment("a/1"))
    store.deliver()
    store.commit(increment("a/1"))
    batch = claimed(store.claim())
    # It landed, was read, and then upstream was restored; what was read comes late.
    restore(store, 1)
    assert adopt(store, batch.seq + 1, ("a/1", b'{"n":2}')) == ["a/1"]
    assert store.view("a/1") == {"n": 2}


def test_while_it_is_lost_only_what_this_box_does_not_hold_is_taken(store: StoreFile) -> None:
    store.commit(set_("a/1", {"n": 1}))
    store.deliver()
    survey(store)
    # The cursor has been moved, and what upstream lacks is not queued again yet.
    assert adopt(store, known(store)[0] + 2, ("a/1", None), ("a/2", b'{"x":1}')) == ["a/1"]
    assert (store.view("a/1"), store.view("a/2")) == ({"n": 1}, {"x": 1})


def test_a_dead_entry_that_is_dropped_leaves_the_view_with_the_next_copy(store: StoreFile) -> None:
    store.commit(set_("a/1", {"n": 1}))
    store.deliver()
    restore(store)
    dead = store.kill()
    store.operate("drop", dead)
    assert (store.view("a/1"), store.column("a/1", "base_state")) == ({"n": 1}, Base.LOST)
    assert adopt(store, known(store)[0], ("a/1", None)) == []
    assert store.view("a/1") is None


def test_a_document_whose_row_was_swept_keeps_its_order(make_store: MakeStore) -> None:
    """It was deleted, its row is gone, a younger document has its place; then it is there again."""
    store = make_store(replace(settings_with(), tombstones_us=0))
    store.commit(set_("a/1", {"n": 1}))
    store.commit(delete("a/1"))
    store.deliver()
    store.clock.advance(10)
    while store.service.housekeep()[1]:
        pass
    assert store.rows("SELECT * FROM documents") == []
    store.reopen()
    store.commit(set_("b/1", {"n": 2}))
    store.deliver()
    adopt(store, known(store)[0], ("a/1", b'{"theirs":1}'))
    restore(store)
    assert store.view("a/1") is None, "clients were told that it is deleted"
    assert store.view("b/1") == {"n": 2}
    queues = {path: 4 * store.column(path, "id") for path in ("a/1", "b/1")}
    assert store.rows("SELECT id, heads FROM entries") == [(1, queues["a/1"]), (2, queues["a/1"]), (3, queues["b/1"])]
    store.commit(set_("a/1", {"n": 3}))
    assert store.view("a/1") == {"n": 3}
    assert store.column("a/1", "pending") == 3
    assert claimed(store.claim()).numbers == [1, 2, 3, 4]


# -- collections that are kept whole


def test_collections_are_listed_anew(whole: StoreFile) -> None:
    whole.call("replica", "primary", "menu", "sqlite:1")
    whole.call("synced", "primary", "menu", "sqlite:1", "0007")
    whole.commit(set_("a/1", {}))
    whole.deliver()
    whole.call("replica", "primary", "menu", "sqlite:1")
    restore(whole)
    # A pull that was under way says that it is done, with a mark that means nothing any more.
    whole.call("synced", "primary", "menu", "sqlite:1", "0009")
    answer = whole.call("replica", "primary", "menu", "sqlite:1")
    assert answer is not None
    assert answer.value is None
    whole.call("synced", "primary", "menu", "sqlite:1", "0003")
    answer = whole.call("replica", "primary", "menu", "sqlite:1")
    assert answer is not None
    assert answer.value == "0003"


def test_what_is_lost_counts_as_held_when_names_are_compared(store: StoreFile) -> None:
    store.commit(set_("menu/1", {}))
    store.deliver()
    restore(store)
    answer = store.call("held", "primary", "menu", "", 10)
    assert answer is not None
    assert answer.value == ["menu/1"]
