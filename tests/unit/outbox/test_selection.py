"""What the next batch takes, against a brute-force oracle that knows the whole queue."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from deora.outbox.selection import FOLLOWERS_AT_ONCE, Entry, Followers, Front, Limits, select
from tests.fakes.recount import inherited


def entry(ident: int, heads: tuple[int, ...], priority: int = 5, writes: int = 1, size_bytes: int = 1) -> Entry:
    """A live entry of the documents `heads`."""
    return Entry(ident, ident, ident, priority, writes, heads, b"x" * size_bytes)


@dataclass
class Backlog:
    """All live entries, by rising id, and what the storage's rows say of them."""

    entries: list[Entry]

    def __post_init__(self) -> None:
        self.entries = sorted(self.entries, key=lambda entry: entry.id)
        urgency = inherited({entry.id: (entry.priority, entry.heads) for entry in self.entries})
        self.queues: dict[int, list[Entry]] = {}
        for one in self.entries:
            for head in one.heads:
                self.queues.setdefault(head, []).append(replace(one, priority=urgency[one.id]))

    def fronts(self) -> Iterator[Front]:
        """The queues, the most urgent first."""
        found = []
        for head, queue in self.queues.items():
            highest = max(entry.priority for entry in queue)
            urgent = sum(entry.priority == highest for entry in queue)
            second = queue[1].id if len(queue) > 1 else None
            found.append(Front(head, highest, urgent, len(queue), second, queue[0]))
        yield from sorted(found, key=lambda front: (-front.priority, front.entry.id))

    def followers(self, head: int, after: int, count: int) -> list[Entry]:
        """The entries behind one in its queue."""
        return [entry for entry in self.queues[head] if entry.id > after][:count]

    def select(self, limits: Limits, held: dict[int, int] | None = None) -> list[int]:
        """The ids that the code under test chooses."""
        followers: Followers = self.followers
        return [entry.id for entry in select(limits, self.fronts(), followers, iter(self.entries), held)]

    def urgency(self, one: Entry) -> int:
        """The highest priority of this entry and of all that waits for it, directly or not."""
        highest, documents = one.priority, set(one.heads)
        for other in self.entries:
            if other.id > one.id and not documents.isdisjoint(other.heads):
                highest = max(highest, other.priority)
                documents |= set(other.heads)
        return highest

    def before(self, one: Entry) -> set[int]:
        """The entries that must be sent before this one."""
        return {other.id for other in self.entries if other.id < one.id and not set(other.heads).isdisjoint(one.heads)}

    def oracle(self, limits: Limits, held: dict[int, int]) -> list[int]:
        """The same choice, made by looking at everything each time."""
        chosen: dict[int, Entry] = {}

        def fits(one: Entry, share: float) -> bool:
            writes = sum(entry.writes for entry in chosen.values()) + one.writes
            size_bytes = sum(len(entry.payload) for entry in chosen.values()) + len(one.payload)
            return not chosen or (writes <= limits.max_writes * share and size_bytes <= limits.max_bytes * share)

        def is_free(one: Entry) -> bool:
            waits = any(held.get(head, one.id) < one.id for head in one.heads)
            return not waits and one.id not in chosen and self.before(one) <= chosen.keys()

        while limits.urgent_share > 0 and (free := [entry for entry in self.entries if is_free(entry)]):
            best = min(free, key=lambda entry: (-self.urgency(entry), entry.id))
            if not fits(best, limits.urgent_share):
                break
            chosen[best.id] = best
        for one in self.entries:
            if is_free(one):
                if not fits(one, 1.0):
                    break
                chosen[one.id] = one
        return sorted(chosen)


DOCUMENTS = (1, 2, 3, 4)
document_sets = st.lists(st.sampled_from(DOCUMENTS), min_size=1, max_size=3, unique=True).map(tuple)
single_documents = st.sampled_from(DOCUMENTS).map(lambda document: (document,))


@st.composite
def backlogs(draw: st.DrawFn) -> Backlog:
    """Up to ten entries over four documents, many of them of several."""
    ids = draw(st.lists(st.integers(1, 40), max_size=10, unique=True))
    return Backlog(
        [
            entry(
                ident,
                draw(st.one_of(single_documents, document_sets)),
                draw(st.sampled_from((0, 5, 5, 6, 9))),
                draw(st.integers(1, 3)),
                draw(st.integers(1, 4)),
            )
            for ident in ids
        ]
    )


limits_of_a_batch = st.builds(
    Limits,
    max_writes=st.integers(1, 20),
    max_bytes=st.integers(1, 30),
    urgent_share=st.sampled_from((0.0, 0.5, 0.8, 1.0)),
)
dead_letters: st.SearchStrategy[dict[int, int]] = st.one_of(
    st.just({}), st.dictionaries(st.sampled_from(DOCUMENTS), st.integers(0, 40), max_size=2)
)


@given(backlogs(), limits_of_a_batch, dead_letters)
@settings(max_examples=400)
@example(Backlog([entry(1, (1, 2), 5), entry(2, (2,), 9), entry(3, (3,), 7)]), Limits(2, 9, 0.5), {})
def test_the_choice_is_that_of_the_oracle(backlog: Backlog, limits: Limits, held: dict[int, int]) -> None:
    """Order, urgency with inheritance, shares, limits and held documents, all at once."""
    chosen = backlog.select(limits, held)
    assert chosen == backlog.oracle(limits, held)
    assert chosen == backlog.select(limits, held)


@given(backlogs(), limits_of_a_batch, dead_letters)
@settings(max_examples=200)
def test_what_is_chosen_may_be_sent(backlog: Backlog, limits: Limits, held: dict[int, int]) -> None:
    """The rules of a batch, said without an oracle for the order of choice."""
    by_id = {one.id: one for one in backlog.entries}
    chosen = backlog.select(limits, held)
    assert chosen == sorted(set(chosen))
    for position, ident in enumerate(chosen):
        assert backlog.before(by_id[ident]) <= set(chosen[:position])
        assert not any(held.get(head, ident) < ident for head in by_id[ident].heads)
    if len(chosen) > 1:
        assert sum(by_id[ident].writes for ident in chosen) <= limits.max_writes
        assert sum(len(by_id[ident].payload) for ident in chosen) <= limits.max_bytes
    free = [one for one in backlog.entries if not any(held.get(head, one.id) <= one.id for head in DOCUMENTS)]
    assert chosen or not free


def test_nothing_waits() -> None:
    assert Backlog([]).select(Limits()) == []


def test_an_entry_larger_than_a_batch_fills_one_by_itself() -> None:
    backlog = Backlog([entry(1, (1,), writes=9), entry(2, (2,))])
    assert backlog.select(Limits(max_writes=3)) == [1]
    assert Backlog([entry(1, (1,), size_bytes=9), entry(2, (2,))]).select(Limits(max_bytes=3)) == [1]


def test_a_run_of_one_document_fills_a_batch_in_order() -> None:
    """More than are read at once, so that the next ones are asked for."""
    count = 3 * FOLLOWERS_AT_ONCE
    backlog = Backlog([entry(ident, (1,)) for ident in range(1, count + 1)])
    assert backlog.select(Limits(max_writes=count)) == list(range(1, count + 1))


def test_an_urgent_entry_far_behind_makes_its_whole_queue_urgent() -> None:
    """Further than one page of followers, and as urgent after each of them."""
    queue = [entry(ident, (1,), 0) for ident in range(1, 700)]
    backlog = Backlog([*queue, entry(700, (1,), 9), entry(0, (2,), 5)])
    assert backlog.select(Limits(max_writes=750, urgent_share=700 / 750))[:3] == [0, 1, 2]
    assert 0 not in backlog.select(Limits(max_writes=700, urgent_share=1.0))


def test_four_fifths_go_by_urgency_and_one_by_age() -> None:
    old = [entry(ident, (ident,), 0) for ident in range(1, 11)]
    urgent = [entry(ident, (ident,), 9) for ident in range(11, 31)]
    chosen = Backlog([*old, *urgent]).select(Limits(max_writes=10))
    assert chosen == [1, 2, *range(11, 19)]


def test_without_an_urgent_share_only_age_counts() -> None:
    backlog = Backlog([entry(ident, (ident,), ident % 10) for ident in range(1, 10)])
    assert backlog.select(Limits(max_writes=3, urgent_share=0.0)) == [1, 2, 3]


@pytest.mark.parametrize("held", [{1: 1}, {1: 2}])
def test_what_is_younger_than_a_dead_entry_waits_with_all_that_is_behind_it(held: dict[int, int]) -> None:
    """2 and 3 wait for the dead entry of document 1; 4 is behind 3 in document 2, 5 behind 4 in document 3."""
    queue = [entry(2, (4,)), entry(3, (1, 2)), entry(4, (2, 3)), entry(5, (3,)), entry(6, (5,))]
    assert Backlog(queue).select(Limits(), held) == [2, 6]


def test_what_is_older_than_the_dead_entry_goes() -> None:
    """A dead entry that is sent again later stands where it stood: what was before it does not wait for it."""
    assert Backlog([entry(1, (1,)), entry(3, (1,))]).select(Limits(), {1: 2}) == [1]
