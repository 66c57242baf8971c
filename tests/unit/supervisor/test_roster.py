"""The table of a child's states, and the pauses between its starts."""

from __future__ import annotations

import random
from itertools import product

import pytest

from deora.supervisor.roster import (
    LONGEST_PAUSE_S,
    TRANSITIONS,
    Duty,
    Event,
    Member,
    State,
    left_without,
    pause_s,
    serving,
)

# What cannot happen: a child that runs is not spawned, one that does not run neither says HELLO nor ends, and a pause
# ends only where one began.
RUNNING = {State.STARTING, State.UP, State.STOPPING}
IMPOSSIBLE = {
    *((state, Event.SPAWN) for state in State if state is not State.DOWN),
    *((state, Event.HELLO) for state in State if state not in RUNNING),
    (State.UP, Event.HELLO),
    *((state, Event.ENDED) for state in State if state not in RUNNING),
    *((state, Event.PAUSED) for state in State if state not in (State.DELAYED, State.STOPPED)),
}


def test_the_table_is_complete() -> None:
    assert set(TRANSITIONS) | IMPOSSIBLE == set(product(State, Event))
    assert not set(TRANSITIONS) & IMPOSSIBLE


@pytest.mark.parametrize(("state", "event"), sorted(IMPOSSIBLE, key=str))
def test_what_cannot_happen_is_a_fault_of_ours(state: State, event: Event) -> None:
    member = Member("primary", "worker", state)
    with pytest.raises(KeyError):
        member.move(event)
    assert member.state is state


def test_every_state_can_be_reached_and_left() -> None:
    reached = {State.DOWN}
    while True:
        more = {after for (state, _), after in TRANSITIONS.items() if state in reached}
        if more <= reached:
            break
        reached |= more
    assert reached == set(State)
    for state in set(State) - {State.STOPPED}:
        assert any(before is state and after is not state for (before, _), after in TRANSITIONS.items())


def test_stop_is_possible_from_everywhere_and_final() -> None:
    for state in State:
        member = Member("primary", "worker", state)
        if member.move(Event.STOP) is State.STOPPING:
            # A HELLO that was on its way changes nothing.
            assert member.move(Event.HELLO) is State.STOPPING
            assert member.move(Event.ENDED) is State.STOPPED
        assert member.state is State.STOPPED
        assert {after for (before, _), after in TRANSITIONS.items() if before is State.STOPPED} == {State.STOPPED}


def test_the_life_of_a_child() -> None:
    member = Member("primary", "worker")
    assert member.move(Event.SPAWN) is State.STARTING
    assert member.move(Event.HELLO) is State.UP
    assert (member.generation, member.restarts) == (1, 0)
    # It had been ready: started again at once.
    assert member.move(Event.ENDED) is State.DOWN
    assert member.move(Event.SPAWN) is State.STARTING
    assert (member.generation, member.restarts) == (2, 1)
    # It was not ready: a pause comes first.
    assert member.move(Event.ENDED) is State.DELAYED
    assert member.move(Event.PAUSED) is State.DOWN


def test_hello_forgives() -> None:
    member = Member("primary", "worker", State.STARTING, failures=3, reason="no file")
    member.move(Event.HELLO)
    assert (member.failures, member.reason) == (0, None)


# -- pauses


@pytest.mark.parametrize("chance", [0.0, 0.5, 1.0])
def test_pauses_grow_to_the_longest_and_no_further(chance: float) -> None:
    pauses = [pause_s(failures, chance) for failures in range(1, 200)]
    assert pauses == sorted(pauses)
    assert 1.0 <= pauses[0] <= 1.25
    assert all(0 < pause <= LONGEST_PAUSE_S for pause in pauses)
    assert pauses[-1] >= 24
    assert pause_s(10**9, chance) == pauses[-1]


@pytest.mark.parametrize("chance", ["least", "most", "random"])
@pytest.mark.parametrize("start_s", [0.0, 0.05, 3.0])
def test_at_most_ten_starts_in_any_minute(chance: str, start_s: float) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    draw = {"least": lambda: 0.0, "most": lambda: 1.0, "random": dice.random}[chance]
    starts, now_s = [], 0.0
    for failures in range(1, 100):
        starts.append(now_s)
        now_s += start_s + pause_s(failures, draw())
    for begin in starts:
        assert sum(begin <= start < begin + 60 for start in starts) <= 10


def test_pauses_are_jittered() -> None:
    # Two workers that cannot boot for the same reason do not come back at the same moment for ever.
    assert pause_s(5, 0.0) < pause_s(5, 0.5) < pause_s(5, 1.0)


# -- who serves


def worker(word: str, slot: str = "w") -> Member:
    """A worker as a few letters describe it: up, or not; its duty; what is wrong with it."""
    member = Member(slot, "worker")
    for name in word.split():
        if name in ("up", "starting", "delayed", "down"):
            member.state = State(name)
            member.failures = 1 if name == "delayed" else 0
        elif name in ("drain", "maint"):
            member.duty = Duty(name)
        elif name == "standby":
            member.stands_by = True
        elif name == "unsound":
            member.is_sound = False
        else:
            assert name == "again"
            member.failures = 1
    return member


@pytest.mark.parametrize(
    ("workers", "serve"),
    [
        (["up", "up"], [0, 1]),
        (["up", "down"], [0]),
        (["down", "starting"], []),
        (["up drain", "up"], [1]),
        (["up maint", "up"], [1]),
        (["up standby", "up"], [1]),
        (["up unsound", "up"], [1]),
        # One that answers late is better than none.
        (["up unsound", "up unsound"], [0, 1]),
        (["up unsound", "up drain"], [0]),
        (["up unsound", "starting"], [0]),
        # The other one is on its way: what is out by order stays out.
        (["up drain", "starting"], []),
        (["up drain", "down"], []),
        (["up standby", "starting"], []),
        # The other one cannot start: it helps out, unless it is in maintenance.
        (["up drain", "delayed"], [0]),
        (["up standby", "delayed"], [0]),
        (["up standby", "starting again"], [0]),
        (["up maint", "delayed"], []),
        (["up maint standby", "delayed"], []),
        (["up drain", "delayed", "starting"], []),
        (["starting drain", "delayed"], []),
        ([], []),
    ],
)
def test_who_serves(workers: list[str], serve: list[int]) -> None:
    members = [worker(word) for word in workers]
    assert serving(members) == [members[index] for index in serve]


@pytest.mark.parametrize(
    ("others", "alone"),
    [
        (["up"], False),
        (["up", "down"], False),
        (["starting"], True),
        (["up drain"], True),
        (["up maint"], True),
        (["up standby"], True),
        (["up unsound"], True),
        ([], True),
    ],
)
def test_whether_nobody_would_be_left(others: list[str], alone: bool) -> None:
    taken = worker("up", "taken")
    workers = [taken, *(worker(word, f"w{number}") for number, word in enumerate(others))]
    assert left_without([taken], workers) is alone
    assert left_without(workers, workers)


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("up", "up"),
        ("starting", "starting"),
        ("delayed drain", "delayed"),
        ("up drain", "drain"),
        ("up standby", "drain"),
        ("up maint", "maint"),
        ("up maint standby", "maint"),
        ("up unsound", "down"),
        ("up unsound drain", "down"),
    ],
)
def test_what_status_shows(word: str, shown: str) -> None:
    assert worker(word).shown == shown
