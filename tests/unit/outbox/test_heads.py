"""The rows of queues: kept up to date step by step, and the same as if they were counted again."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from deora.outbox.heads import Queues, decode_heads, document_of, encode_heads, head_id
from deora.store.database import migrate
from tests.fakes.recount import inherited, queue_rows, stored_queue_rows, waiting_entries


@pytest.mark.parametrize(("document", "upstream"), [(0, 0), (1, 0), (1, 3), (2**40, 2)])
def test_a_queue_belongs_to_a_document_and_an_upstream(document: int, upstream: int) -> None:
    head = head_id(document, upstream)
    assert document_of(head) == document
    assert head % 4 == upstream


def test_the_queues_of_an_entry_are_an_integer_for_one() -> None:
    assert encode_heads((7,)) == 7
    assert encode_heads((7, 9)) == "[7,9]"
    for heads in ((7,), (7, 9), tuple(range(500)), (2**50, 1)):
        assert decode_heads(encode_heads(heads)) == heads


class Rows:
    """Queues over a real schema, with the entries that they speak of."""

    def __init__(self) -> None:
        self.db = sqlite3.connect(":memory:", isolation_level=None)
        migrate(self.db)
        self.queues = Queues(self.db)
        self.urgency: dict[int, int] = {}

    def join(self, ident: int, heads: tuple[int, ...], priority: int) -> None:
        """A new entry, the youngest of all."""
        self.db.execute(
            "INSERT INTO entries VALUES (?, 0, ?, 0, ?, 0, 0, 0, 1, 0, NULL, ?, x'', NULL)",
            (ident, ident, priority, encode_heads(heads)),
        )
        self.queues.join(heads, 0, ident, priority)
        self._rise()

    def leave(self, ident: int) -> None:
        """An entry is settled."""
        _, heads = waiting_entries(self.db)[ident]
        self.db.execute("UPDATE entries SET state = 2 WHERE id = ?", (ident,))
        self.queues.leave(heads, ident)
        del self.urgency[ident]

    def rejoin(self, ident: int, heads: tuple[int, ...], priority: int) -> None:
        """A dead entry is sent again: as urgent as the queues that it comes into, where it can hold up several."""
        if len(heads) > 1:
            entries = waiting_entries(self.db)
            there = [self.urgency[other] for other, (_, theirs) in entries.items() if {*heads} & {*theirs}]
            self.urgency[ident] = max([priority, *there])
        self.db.execute("UPDATE entries SET state = 0 WHERE id = ?", (ident,))
        self.queues.rejoin(heads, 0, ident, priority)
        self._rise()

    def check(self) -> None:
        """The rows are what a recount gives."""
        self.queues.flush()
        expected_heads, expected_followers = queue_rows(self.db, self.urgency)
        heads, followers = stored_queue_rows(self.db)
        assert heads == expected_heads
        assert followers == expected_followers

    def _rise(self) -> None:
        self.urgency = inherited(waiting_entries(self.db), self.urgency)


@pytest.fixture
def rows() -> Iterator[Rows]:
    found = Rows()
    yield found
    found.db.close()


A, B, C = 4, 8, 12


def test_an_urgent_entry_makes_what_it_waits_for_as_urgent_everywhere(rows: Rows) -> None:
    """1 stands in A and B, 2 in B and C; 3 waits in C for 2, which waits in B for 1."""
    rows.join(1, (A, B), 1)
    rows.join(2, (B, C), 2)
    rows.join(3, (C,), 9)
    rows.check()
    assert rows.urgency == {1: 9, 2: 9, 3: 9}


def test_inheritance_also_where_something_more_urgent_stands_in_front(rows: Rows) -> None:
    """3 does not make queue A more urgent, but 2, for which it waits, in queue B."""
    rows.join(1, (A,), 9)
    rows.join(2, (A, B), 5)
    rows.join(3, (A,), 7)
    rows.check()
    rows.leave(1)
    rows.check()
    assert rows.urgency == {2: 7, 3: 7}


def test_a_queue_forgets_a_level_when_its_last_entry_leaves(rows: Rows) -> None:
    for ident, priority in ((1, 5), (2, 9), (3, 9), (4, 7)):
        rows.join(ident, (A,), priority)
    for ident in (1, 2, 3, 4):
        rows.check()
        rows.leave(ident)
    rows.check()
    assert stored_queue_rows(rows.db) == (set(), set())


def test_queues_that_are_read_in_advance_are_the_same(rows: Rows) -> None:
    rows.join(1, (A,), 5)
    rows.check()
    rows.queues.preload([A, B])
    rows.queues.preload([A, B, C])
    rows.join(2, (A, B), 6)
    rows.leave(1)
    rows.check()


def test_a_queue_that_empties_and_fills_within_a_transaction_keeps_its_row(rows: Rows) -> None:
    rows.join(1, (A,), 5)
    rows.check()
    rows.leave(1)
    rows.join(2, (A,), 6)
    rows.check()
    rows.leave(2)
    rows.join(3, (B,), 6)
    rows.leave(3)
    rows.check()


heads_of_an_entry = st.lists(st.sampled_from((A, B, C, 16)), min_size=1, max_size=3, unique=True).map(tuple)


class Recount(RuleBasedStateMachine):
    """Entries come, leave from any place and come back; the rows stay what a recount gives."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = Rows()
        self.last = 0
        self.dead: dict[int, tuple[int, tuple[int, ...]]] = {}
        self.flushes = True

    @initialize(flushes=st.booleans())
    def choose(self, flushes: bool) -> None:
        """Whether each step is a transaction of its own, or all of them are one."""
        self.flushes = flushes

    @rule(heads=heads_of_an_entry, priority=st.sampled_from((0, 4, 5, 6, 9)))
    def join(self, heads: tuple[int, ...], priority: int) -> None:
        """A commit."""
        self.last += 1
        self.rows.join(self.last, heads, priority)

    @precondition(lambda self: self.rows.urgency)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        """A settlement; any entry, since a refused one may be settled before an older one that came back."""
        ident = data.draw(st.sampled_from(sorted(self.rows.urgency)))
        self.dead[ident] = waiting_entries(self.rows.db)[ident]
        self.rows.leave(ident)

    @precondition(lambda self: self.dead)
    @rule(data=st.data())
    def rejoin(self, data: st.DataObject) -> None:
        """A retry, at the entry's old place."""
        ident = data.draw(st.sampled_from(sorted(self.dead)))
        priority, heads = self.dead.pop(ident)
        self.rows.rejoin(ident, heads, priority)

    @invariant()
    def is_what_a_recount_gives(self) -> None:
        """After every step, or at the end."""
        if self.flushes:
            self.rows.check()

    def teardown(self) -> None:
        """The last look."""
        self.rows.check()
        self.rows.db.close()


TestRecount = Recount.TestCase
TestRecount.settings = settings(max_examples=80, stateful_step_count=25)
