"""The outbox on a real file: what it claims, what it settles, and that its sums never drift."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from deora.errors import Problem
from deora.outbox.figures import Upstream
from deora.outbox.selection import Limits
from deora.outbox.storage import OVERHEAD_BYTES, Batch, Outbox
from deora.store.database import open_writer
from deora.store.identity import Progress
from deora.store.settlements import Settlements
from deora.store.view import Documents
from tests.fakes.clock import ManualClock
from tests.fakes.ram import ram_directory
from tests.fakes.recount import check_figures, inherited, queue_rows, queued_entries, stored_queue_rows, waiting_entries


class Box:
    """An outbox on a file, one transaction a step. Its upstreams have no documents: views are tested with the store."""

    def __init__(self, path: Path, names: tuple[str, ...] = ("cloud",)) -> None:
        self.path = path
        self.names = names
        self.last = 0
        self.batch_ids: Callable[[], str] = map("b{}".format, count(1)).__next__
        self.open()

    def open(self) -> None:
        """Opens the file, as a new process would."""
        self.db = open_writer(self.path)
        self.db.execute("BEGIN IMMEDIATE")
        self.outbox = Outbox(self.db, list(self.names), self.batch_ids)
        progress = Progress("epoch", 0, 0, 0)
        self.settlements = Settlements(Documents(self.db), self.outbox, progress, ManualClock(), dead_holds=False)

    def commit(self) -> None:
        """Ends the step's transaction and begins the next one."""
        self.outbox.flush()
        self.db.execute("COMMIT")
        self.db.execute("BEGIN IMMEDIATE")

    def reopen(self) -> None:
        """Loses everything that is in memory only."""
        self.commit()
        self.db.close()
        self.open()

    def upstream(self, name: str | None = None) -> Upstream:
        """One of the upstreams; the first where none is named."""
        return self.outbox.upstreams[name or self.names[0]]

    def enqueue(self, documents: list[int], priority: int = 5, payload: bytes = b"p", writes: int = 1) -> list[int]:
        """The entries of one commit, one for each upstream."""
        idents = []
        for upstream in self.outbox.upstreams.values():
            self.last += 1
            self.outbox.enqueue(
                upstream, self.last, documents, priority, payload, writes, self.last, 1_000_000, self.last
            )
            idents.append(self.last)
        self.commit()
        return idents

    def claim(self, limits: Limits | None = None, name: str | None = None) -> Batch | None:
        """The next batch."""
        batch = self.outbox.next_batch(self.upstream(name), limits or Limits())
        self.commit()
        return batch

    def done(self, batch: Batch, name: str | None = None) -> list[int]:
        """Upstream has the batch."""
        settled = self.outbox.settle_done(self.upstream(name), batch.id, 100)
        self.commit()
        return [entry.id for entry in settled]

    def dead(self, batch: Batch, *, holds: bool = False, name: str | None = None) -> list[int]:
        """Upstream refuses the batch."""
        settled = self.outbox.settle_dead(self.upstream(name), batch.id, 100, "no", holds=holds)
        self.commit()
        return [entry.id for entry in settled]

    def kill(self, ident: int, *, holds: bool = False) -> None:
        """An entry that is claimed alone and refused."""
        batch = self.claim(Limits(max_writes=1))
        assert batch is not None
        assert [entry.id for entry in batch.entries] == [ident]
        self.dead(batch, holds=holds)

    def retry(self, ident: int) -> None:
        """An operator sends a dead entry again."""
        self.settlements.retry(ident, force=True)
        self.commit()

    def drop(self, ident: int) -> None:
        """An operator gives a dead entry up."""
        self.settlements.drop(ident)
        self.commit()

    def check(self) -> None:
        """Sums and queues are what the entries say. Priorities that are inherited are looked at in test_heads."""
        check_figures(self.db, self.outbox)
        heads, followers = stored_queue_rows(self.db)
        # An entry that has come back may stand higher than a recount knows, so the priorities as stored are taken.
        urgency = {row[1]: row[2] for row in followers} | {row[2]: row[3] for row in heads}
        entries = queued_entries(self.db)
        assert urgency.keys() == entries.keys()
        assert all(urgency[ident] >= level for ident, level in inherited(entries).items())
        assert (heads, followers) == queue_rows(self.db, urgency)


def ids(batch: Batch | None) -> list[int]:
    """The entries of a batch; none where there is no batch."""
    return [] if batch is None else [entry.id for entry in batch.entries]


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    found = Box(tmp_path / "store.db")
    yield found
    found.check()
    found.db.close()


def test_an_entry_comes_back_as_it_was_enqueued(box: Box) -> None:
    box.enqueue([3, 4], priority=7, payload=b"abc", writes=2)
    batch = box.claim()
    assert batch is not None
    [entry] = batch.entries
    assert (entry.id, entry.number, entry.commit_no, entry.writes, entry.payload) == (1, 1, 1, 2, b"abc")
    assert entry.heads == (12, 16)


def test_an_empty_outbox_has_nothing_to_claim(box: Box) -> None:
    assert box.claim() is None


def test_figures_count_what_waits_what_is_dead_and_what_is_done(box: Box) -> None:
    upstream = box.upstream()
    box.enqueue([1], priority=9, payload=b"12345")
    box.enqueue([2], priority=5)
    assert (upstream.pending, upstream.inflight, upstream.number) == (2, 0, 2)
    assert upstream.live_bytes == 6 + 2 * OVERHEAD_BYTES
    assert upstream.by_priority == {9: 1, 5: 1}
    batch = box.claim(Limits(max_writes=1))
    assert batch is not None
    assert (upstream.pending, upstream.inflight) == (2, 1)
    box.done(batch)
    assert (upstream.pending, upstream.inflight, upstream.done) == (1, 0, 1)
    assert (upstream.live_bytes, upstream.done_bytes) == (1 + OVERHEAD_BYTES, 5 + OVERHEAD_BYTES)
    box.kill(2)
    assert (upstream.pending, upstream.dead, upstream.by_priority) == (0, 1, {})
    # A dead entry still takes its place in the file.
    assert upstream.live_bytes == 1 + OVERHEAD_BYTES


def test_a_batch_is_handed_out_again_until_it_is_settled(box: Box) -> None:
    box.enqueue([1])
    first = box.claim()
    box.enqueue([2], priority=9)
    assert box.claim() == first
    box.reopen()
    assert box.claim() == first
    assert first is not None
    assert box.done(first) == [1]
    assert ids(box.claim()) == [2]


def test_a_batch_is_settled_once(box: Box) -> None:
    box.enqueue([1])
    batch = box.claim()
    assert batch is not None
    assert box.done(batch) == [1]
    assert box.done(batch) == []
    assert box.dead(batch) == []
    assert not box.outbox.split(box.upstream(), batch.id, [1], 5, "x")
    box.outbox.attempted(batch.id, "late")
    assert (box.upstream().done, box.upstream().seq) == (1, 0)


def test_a_paused_upstream_gets_no_new_batch(box: Box) -> None:
    box.enqueue([1])
    box.upstream().paused = True
    box.upstream().changed = True
    assert box.claim() is None
    box.reopen()
    assert box.upstream().paused
    assert box.claim() is None
    box.upstream().paused = False
    assert ids(box.claim()) == [1]


def test_an_attempt_is_noted_with_its_entries(box: Box) -> None:
    box.enqueue([1])
    batch = box.claim()
    assert batch is not None
    box.outbox.attempted(batch.id, "no route")
    box.outbox.attempted(batch.id, "refused")
    box.reopen()
    again = box.claim()
    assert again is not None
    assert (again.attempts, again.id) == (2, batch.id)
    assert box.db.execute("SELECT attempts, error FROM entries").fetchall() == [(2, "refused")]


@pytest.mark.parametrize(
    ("at", "parts"),
    [
        ([2], [[1, 2], [3, 4, 5]]),
        ([1, 2], [[1], [2], [3, 4, 5]]),
        ([2, 1, 2], [[1], [2], [3, 4, 5]]),
        ([0, 5, 9, -1], [[1, 2, 3, 4, 5]]),
        ([], [[1, 2, 3, 4, 5]]),
    ],
)
def test_a_split_batch_is_sent_in_parts_in_the_same_order(box: Box, at: list[int], parts: list[list[int]]) -> None:
    for document in range(1, 6):
        box.enqueue([document])
    batch = box.claim()
    assert batch is not None
    assert box.outbox.split(box.upstream(), batch.id, at, 7, "fence")
    box.reopen()
    assert (box.upstream().seq, box.upstream().batch_id) == (7, "fence")
    found = []
    while (part := box.claim()) is not None:
        assert part.id != batch.id
        assert part.attempts == 0
        found.append(box.done(part))
    assert found == parts


def test_a_part_that_is_split_again_stays_before_the_others(box: Box) -> None:
    for document in range(1, 9):
        box.enqueue([document])
    found: list[list[int]] = []
    while (batch := box.claim()) is not None:
        box.check()
        if len(batch.entries) > 1:
            box.outbox.split(box.upstream(), batch.id, [len(batch.entries) // 2], 1, "fence")
            box.reopen()
        else:
            found.append(box.done(batch))
    assert found == [[ident] for ident in range(1, 9)]


def test_upstreams_have_entries_numbers_and_batches_of_their_own(tmp_path: Path) -> None:
    box = Box(tmp_path / "store.db", ("primary", "secondary"))
    box.enqueue([1])
    box.enqueue([1])
    first, second = box.claim(name="primary"), box.claim(name="secondary")
    assert (ids(first), ids(second)) == ([1, 3], [2, 4])
    assert first is not None
    assert [entry.number for entry in first.entries] == [1, 2]
    # A batch of one cannot be settled twice in the name of the other.
    assert box.done(first, "primary") == [1, 3]
    box.check()
    box.reopen()
    assert (box.upstream("primary").pending, box.upstream("secondary").pending) == (0, 2)
    assert box.claim(name="secondary") == second
    assert box.outbox.inflight_ids() == {2, 4}
    assert (box.outbox.live_entries(), box.outbox.live_bytes()) == (2, 2 * (OVERHEAD_BYTES + 1))
    assert box.outbox.done_bytes() == 2 * (OVERHEAD_BYTES + 1)
    box.db.close()


def test_an_upstream_that_comes_later_gets_what_comes_later(tmp_path: Path) -> None:
    box = Box(tmp_path / "store.db", ("primary",))
    box.enqueue([1])
    box.names = ("primary", "secondary")
    box.reopen()
    assert box.upstream("secondary").id == 1
    box.enqueue([1])
    assert ids(box.claim(name="secondary")) == [3]
    box.names = ("primary",)
    box.reopen()
    assert list(box.outbox.upstreams) == ["primary"]
    box.names = ("primary", "secondary")
    box.reopen()
    assert (box.upstream("secondary").id, box.upstream("secondary").inflight) == (1, 1)
    box.db.close()


def test_later_writes_wait_for_a_dead_entry_that_holds(box: Box) -> None:
    box.enqueue([1])
    box.kill(1, holds=True)
    box.enqueue([1, 2])
    box.enqueue([2])
    box.enqueue([3])
    batch = box.claim()
    assert ids(batch) == [4]
    assert batch is not None
    box.done(batch)
    assert box.claim() is None
    box.retry(1)
    assert ids(box.claim()) == [1, 2, 3]


def test_later_writes_go_on_past_a_dead_entry_that_does_not_hold(box: Box) -> None:
    box.enqueue([1])
    box.kill(1)
    box.enqueue([1])
    assert ids(box.claim()) == [2]


@pytest.mark.parametrize("holds", [False, True])
def test_what_was_claimed_with_a_refused_entry_waits_for_it_only_if_it_holds(box: Box, holds: bool) -> None:
    """All five are in one batch; 1 is refused. 2 waits behind it, 4 behind 2 in document 2; 3 and 5 do not."""
    for documents in ([1], [1, 2], [3], [2], [4]):
        box.enqueue(documents)
    batch = box.claim()
    assert batch is not None
    box.outbox.split(box.upstream(), batch.id, [1, 2, 3, 4], 1, "fence")
    box.commit()
    first = box.claim()
    assert ids(first) == [1]
    assert first is not None
    box.dead(first, holds=holds)
    box.check()
    box.reopen()
    sent: list[int] = []
    while (part := box.claim()) is not None:
        sent += box.done(part)
    assert sent == ([3, 5] if holds else [2, 3, 4, 5])
    if holds:
        box.retry(1)
        assert ids(box.claim()) == [1, 2, 4]


def test_a_retried_entry_gets_a_new_number_at_its_old_place(box: Box) -> None:
    box.enqueue([1])
    box.kill(1)
    box.enqueue([1])
    box.enqueue([1, 2])
    box.retry(1)
    box.check()
    batch = box.claim()
    assert batch is not None
    assert [(entry.id, entry.number) for entry in batch.entries] == [(1, 4), (2, 2), (3, 3)]


def test_a_retried_entry_of_several_documents_needs_nobody_in_its_queues(box: Box) -> None:
    box.enqueue([1, 2])
    box.kill(1)
    box.retry(1)
    box.check()
    assert ids(box.claim()) == [1]


def test_a_retried_entry_may_stand_before_what_this_transaction_brought(box: Box) -> None:
    box.enqueue([1])
    box.kill(1)
    box.last += 1
    box.outbox.enqueue(box.upstream(), box.last, [1], 5, b"p", 1, 2, 0, 0)
    box.retry(1)
    box.check()
    assert ids(box.claim()) == [1, 2]


def test_nothing_starves_while_urgent_entries_keep_coming(box: Box) -> None:
    """An old entry that is larger than a fifth of a batch has its turn too: every fifth claim goes by age first."""
    [large] = box.enqueue([1], priority=0, writes=9)
    [small] = box.enqueue([2], priority=0)
    document, waited = 3, dict[int, int]()
    for claims in range(1, 12):
        for _ in range(12):
            box.enqueue([document], priority=9)
            document += 1
        batch = box.claim(Limits(max_writes=10))
        assert batch is not None
        waited |= {ident: claims for ident in ids(batch) if ident in (large, small)}
        box.done(batch)
    assert waited[large] <= 5
    assert waited[small] <= waited[large] + 1


class Steps(RuleBasedStateMachine):
    """Random commits, claims, settlements, retries and drops; after each step all sums equal a recount."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = ram_directory()
        self.box = Box(Path(self.folder.name) / "store.db")
        self.overtaken: dict[int, set[int]] = {}
        self.gone = 0

    @initialize(two=st.booleans())
    def choose(self, two: bool) -> None:
        """One upstream or two."""
        if two:
            self.box.names = ("cloud", "disk")
            self.box.reopen()

    @rule(
        documents=st.lists(st.integers(1, 4), min_size=1, max_size=3, unique=True),
        priority=st.sampled_from((0, 5, 5, 9)),
        payload=st.binary(max_size=6),
        writes=st.integers(1, 3),
    )
    def enqueue(self, documents: list[int], priority: int, payload: bytes, writes: int) -> None:
        """A commit."""
        self.box.enqueue(documents, priority, payload, writes)

    @rule(data=st.data(), max_writes=st.integers(1, 8), refused=st.booleans(), holds=st.booleans())
    def settle(self, data: st.DataObject, max_writes: int, refused: bool, holds: bool) -> None:
        """A claim, and what upstream says to it."""
        name = data.draw(st.sampled_from(self.box.names))
        batch = self.box.claim(Limits(max_writes=max_writes), name)
        if batch is None:
            return
        self.check_order(batch, name)
        if not refused:
            self.box.done(batch, name)
        elif len(batch.entries) == 1:
            self.box.dead(batch, holds=holds, name=name)
        else:
            at = data.draw(st.lists(st.integers(1, len(batch.entries) - 1), min_size=1, max_size=3))
            upstream = self.box.upstream(name)
            assert self.box.outbox.split(upstream, batch.id, at, upstream.seq + 1, "fence:" + batch.id)
            self.box.commit()

    @precondition(lambda self: any(upstream.dead for upstream in self.box.outbox.upstreams.values()))
    @rule(data=st.data(), drop=st.booleans())
    def decide(self, data: st.DataObject, drop: bool) -> None:
        """An operator retries or drops a dead entry."""
        dead = [row[0] for row in self.box.db.execute("SELECT id FROM entries WHERE state = 2 ORDER BY id")]
        ident = data.draw(st.sampled_from(dead))
        if drop:
            self.box.drop(ident)
            self.gone += 1
        else:
            self.box.retry(ident)
            for inflight in self.box.outbox.inflight_ids():
                self.overtaken.setdefault(inflight, set()).add(ident)
        with pytest.raises(Problem):
            self.box.settlements.retry(ident, force=True)

    @rule()
    def join(self) -> None:
        """The tail has grown too long, or something has to be looked up in the queues."""
        self.box.outbox.join_all()
        self.box.commit()
        assert all(upstream.tail == 0 for upstream in self.box.outbox.upstreams.values())

    @rule()
    def reopen(self) -> None:
        """A new process: what was in memory equals what is in the file."""
        before = dict(self.box.outbox.upstreams)
        inflight = self.box.outbox.inflight_ids()
        self.box.reopen()
        assert self.box.outbox.inflight_ids() == inflight
        for name, upstream in self.box.outbox.upstreams.items():
            upstream.claims = before[name].claims
            assert upstream == before[name]

    @invariant()
    def counts_right(self) -> None:
        """Sums, queues, and that no entry is lost or there twice."""
        self.box.check()
        inflight = self.box.outbox.inflight_ids()
        self.overtaken = {ident: others for ident, others in self.overtaken.items() if ident in inflight}
        states = self.box.db.execute("SELECT count(*) FROM entries").fetchone()
        assert states == (self.box.last - self.gone,)

    def check_order(self, batch: Batch, name: str) -> None:
        """Each older entry of each of its documents is settled or sent before it, and none of them holds it back."""
        entries = waiting_entries(self.box.db)
        sent = ids(batch)
        assert sent == sorted(sent)
        for position, ident in enumerate(sent):
            heads = set(entries[ident][1])
            assert {head % 4 for head in heads} == {self.box.upstream(name).id}
            before = {other for other in entries if other < ident and heads & set(entries[other][1])}
            # What came back after the batch was fixed goes after it.
            assert before - set(sent[:position]) <= self.overtaken.get(ident, set())
            for head in heads:
                held = "SELECT count(*) FROM dead_letters WHERE head = ? AND entry < ? AND holds = 1"
                assert self.box.db.execute(held, (head, ident)).fetchone() == (0,)

    def teardown(self) -> None:
        """Takes the file away."""
        self.box.db.close()
        self.folder.cleanup()


TestSteps = Steps.TestCase
TestSteps.settings = settings(max_examples=40, stateful_step_count=25)
