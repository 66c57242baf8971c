"""The life of an entry: the table itself."""

from __future__ import annotations

import itertools

import pytest

from deora.outbox.states import STORED, TRANSITIONS, Event, State, allowed, state_of


def test_the_table_is_the_one_in_the_docstring() -> None:
    drawn = {
        "pending claim inflight",
        "inflight applied done",
        "inflight refused dead",
        "inflight release pending",
        "dead retry pending",
        "dead drop gone",
        "done prune gone",
        "done requeue pending",
        "pending found upstream done",
        "dead found upstream done",
        "pending found refused dead",
    }
    assert {f"{state.value} {event.value} {after.value}" for (state, event), after in TRANSITIONS.items()} == drawn


@pytest.mark.parametrize(("state", "event"), list(itertools.product(State, Event)))
def test_what_is_not_in_the_table_is_not_allowed(state: State, event: Event) -> None:
    assert allowed(state, event) == TRANSITIONS.get((state, event))


def test_nothing_that_upstream_lacks_leaves_by_itself() -> None:
    """Only an operator's drop makes an entry go that is not done."""
    leaving = {(state, event) for (state, event), after in TRANSITIONS.items() if after is State.GONE}
    assert leaving == {(State.DEAD, Event.DROP), (State.DONE, Event.PRUNE)}


def test_every_state_can_be_reached_and_left() -> None:
    reached = {State.PENDING}
    while more := {after for (state, _), after in TRANSITIONS.items() if state in reached} - reached:
        reached |= more
    assert reached == set(State)
    assert {state for state, _ in TRANSITIONS} == set(State) - {State.GONE}


@pytest.mark.parametrize(
    ("stored", "in_batch", "state"),
    [
        (0, False, State.PENDING),
        (0, True, State.INFLIGHT),
        (1, False, State.DONE),
        (2, False, State.DEAD),
        # A batch that still names an entry which is settled says nothing about it.
        (1, True, State.DONE),
        (2, True, State.DEAD),
    ],
)
def test_the_state_comes_from_the_number_and_the_batches(stored: int, in_batch: bool, state: State) -> None:
    assert state_of(stored, in_batch) is state


def test_pending_and_inflight_are_stored_alike() -> None:
    assert STORED[State.PENDING] == STORED[State.INFLIGHT]
    assert {state_of(number, in_batch) for number in STORED.values() for in_batch in (False, True)} == set(STORED)
