"""A salvaged file is made whole: counters, queues and batches agree with the entries that are left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from deora.documents.writes import decode_writes
from deora.store.rebuild import LEAP, Rebuilt, leap, named, rebuild
from deora.store.sums import Mark
from tests.fakes.recount import check_figures, inherited, queue_rows, stored_queue_rows, waiting_entries
from tests.fakes.store import Claimed, StoreFile, set_, update

MARK = Mark(1, (0, 0), 0, 500, 900, "the-node", "the-epoch")


class Bench:
    """A store with ten documents of two writes each, one batch in flight, one dead entry."""

    def __init__(self, path: Path) -> None:
        self.store = StoreFile(path)
        for turn in range(2):
            for number in range(10):
                self.store.commit(update(f"bills/{number}", {"n": {"$increment": 1}, "turn": turn}, upsert=True))
        self.dead = self.store.kill()
        batch = self.store.claim(max_writes=4)
        assert batch is not None
        self.batch: Claimed = batch

    def rebuild(self, unclear: set[str], mark: Mark | None = MARK) -> Rebuilt:
        """As after a salvage that left these tables incomplete; then the store opens the file."""
        self.store.db.execute("DELETE FROM heads")
        self.store.db.execute("DELETE FROM followers")
        rebuilt = rebuild(self.store.connection._db, mark, ["primary"], unclear)
        self.store.reopen()
        return rebuilt

    def check(self) -> None:
        """The file is as the store itself would have made it."""
        db = self.store.db
        check_figures(db, self.store.service.outbox)
        assert stored_queue_rows(db) == queue_rows(db, inherited(waiting_entries(db)))

    def paths_sent(self) -> list[str]:
        """The documents of all that goes upstream now, in order."""
        paths = []
        while (batch := self.store.claim()) is not None:
            paths += [write.path for _, payload in batch.entries for write in decode_writes(payload)]
            self.store.settle(batch)
        return paths


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path / "store.db")
    yield bench
    bench.store.close()


def test_where_nothing_is_missing_nothing_changes(bench: Bench) -> None:
    identity, commit_no = bench.store.service.identity, bench.store.service.progress.commit_no
    assert bench.rebuild(set()) == Rebuilt()
    bench.check()
    assert bench.store.service.identity == identity
    assert bench.store.service.progress.commit_no == commit_no
    again = bench.store.claim()
    assert again is not None
    assert (again.id, again.numbers) == (bench.batch.id, bench.batch.numbers)
    assert bench.store.states()[bench.dead] == 2


def test_writes_that_are_lost_take_effect_as_a_whole_document(bench: Bench) -> None:
    bench.store.db.execute("DELETE FROM entries WHERE id IN (18, 19)")
    rebuilt = bench.rebuild({"entries"})
    bench.check()
    assert (rebuilt.entries, rebuilt.sent_again) == (2, ["bills/7", "bills/8"])
    assert bench.store.view("bills/7") == {"n": 2, "turn": 1}
    sent = bench.paths_sent()
    assert sent[-2:] == ["bills/7", "bills/8"]
    assert sent.count("bills/7") == 2


def test_a_batch_of_which_nothing_is_left_is_kept_for_the_cursor(bench: Bench) -> None:
    bench.store.db.execute("DELETE FROM entries WHERE id IN (SELECT value FROM batches, json_each(members))")
    bench.rebuild({"entries"})
    bench.check()
    again = bench.store.claim()
    assert again is not None
    assert (again.id, again.numbers) == (bench.batch.id, [])
    bench.store.settle(again)
    assert bench.paths_sent()


def test_a_document_that_is_lost_is_named_and_shows_nothing(bench: Bench) -> None:
    bench.store.db.execute("DELETE FROM documents WHERE name = '3'")
    rebuilt = bench.rebuild({"documents"})
    bench.check()
    assert rebuilt.documents == ["bills/3"]
    assert bench.store.view("bills/3") is None
    assert bench.store.column("bills/3", "pending") == 2
    assert bench.store.rows("SELECT count(*) FROM replicas") == [(0,)]


def test_no_number_and_no_version_is_used_again(bench: Bench) -> None:
    bench.rebuild({"requests", "progress"})
    answer = bench.store.commit(set_("bills/new", {}))
    assert answer.commit > LEAP + MARK.commit_no
    [(ident, number)] = bench.store.rows("SELECT id, number FROM entries ORDER BY id DESC LIMIT 1")
    assert ident > LEAP + MARK.entry_id
    assert number > LEAP + MARK.entry_id


def test_the_mark_tells_who_the_store_was(bench: Bench) -> None:
    bench.store.db.execute("DELETE FROM identity")
    bench.store.db.execute("DELETE FROM progress")
    rebuilt = bench.rebuild({"identity", "progress"})
    assert not rebuilt.stranger
    assert bench.store.service.identity == ("the-node", "the-epoch")
    assert not bench.store.service.outbox.upstreams["primary"].paused


def test_a_store_that_cannot_know_who_it_was_pauses(bench: Bench) -> None:
    bench.store.db.execute("DELETE FROM identity")
    assert bench.rebuild({"identity"}, None).stranger
    assert bench.store.service.outbox.upstreams["primary"].paused
    assert bench.store.claim() is None


def test_an_upstream_whose_cursor_is_not_known_is_paused(bench: Bench) -> None:
    bench.store.db.execute("DELETE FROM upstreams")
    assert bench.rebuild({"upstreams"}).unplaced
    bench.check()
    assert bench.store.service.outbox.upstreams["primary"].paused


def test_a_leap_makes_the_rows_that_are_missing(bench: Bench) -> None:
    bench.store.db.execute("DELETE FROM progress")
    bench.store.db.execute("BEGIN")
    leap(bench.store.connection._db, None, ["primary", "secondary"])
    bench.store.db.execute("COMMIT")
    assert bench.store.rows("SELECT id, name FROM upstreams ORDER BY id") == [(0, "primary"), (1, "secondary")]
    [(commit_no, entry_id)] = bench.store.rows("SELECT commit_no, entry_id FROM progress")
    assert (commit_no, entry_id) == (LEAP + 20, LEAP + 20)


def test_of_many_paths_the_first_are_named() -> None:
    assert named(["a/1", "a/2"]) == "a/1, a/2"
    assert named([f"a/{number}" for number in range(25)]).endswith("a/19 and 5 more")


def test_numbers_that_a_leap_passes_over_are_not_missed_when_upstream_is_restored(bench: Bench) -> None:
    [(number,)] = bench.store.rows("SELECT number FROM upstreams")
    bench.rebuild({"documents"}, None)
    [(first, last)] = bench.store.rows("SELECT first, last FROM given_up")
    assert (last - first + 1, bench.store.rows("SELECT number FROM upstreams")) == (LEAP, [(last,)])
    assert first > number


def test_entries_whose_origin_is_lost_go_on_as_this_stores_own(bench: Bench) -> None:
    """But for those that are done."""
    bench.store.settle(bench.batch)
    waiting = [ident for ident, state in bench.store.states().items() if state == 0]
    taken_over = [*waiting[-3:], min(ident for ident, state in bench.store.states().items() if state == 1)]
    bench.store.db.executemany("UPDATE entries SET origin = 7 WHERE id = ?", [(ident,) for ident in taken_over])
    [(number,)] = bench.store.rows("SELECT number FROM upstreams")
    assert bench.rebuild({"origins"}).made_own == 3
    bench.check()
    assert taken_over[-1] not in bench.store.states()
    assert bench.store.rows("SELECT number, origin FROM entries ORDER BY id DESC LIMIT 3") == [
        (number + turn, None) for turn in (3, 2, 1)
    ]
    assert len(bench.paths_sent()) == len(waiting)
