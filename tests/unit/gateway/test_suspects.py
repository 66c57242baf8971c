"""Trials: the guilty one is found, and its neighbours never pay."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from deora.gateway.suspects import Suspects

TRIAL_S = 3.0


@dataclass(eq=False)
class Asked:
    """A request. `kills`: it ends any worker that begins it; `served`: how often it was answered."""

    name: str
    kills: bool = False
    deaths: int = 0
    trials: int = 0


def suspects(most_deaths: int = 2) -> Suspects[Asked]:
    return Suspects(most_deaths, TRIAL_S)


@dataclass
class World:
    """Workers that take requests in any order and die of some; who was answered, and who was given up."""

    workers: int
    most_deaths: int
    dice: random.Random
    answered: list[Asked] = field(default_factory=list)
    given_up: list[Asked] = field(default_factory=list)
    deaths: int = 0

    def run(self, requests: list[Asked]) -> None:
        held: dict[str, list[Asked]] = {f"w{number}": [] for number in range(self.workers)}
        waiting = list(requests)
        found = suspects(self.most_deaths)
        for _ in range(20 * len(requests) + 1000):
            for slot, suspect in found.plan({slot: len(asked) for slot, asked in held.items()}, 0.0):
                assert not held[slot], "a suspect is alone"
                held[slot].append(suspect)
            open_to_all = [slot for slot in held if slot not in found.reserved]
            while waiting and open_to_all:
                held[self.dice.choice(open_to_all)].append(waiting.pop())
            busy = [slot for slot, asked in held.items() if asked]
            if not busy:
                break
            slot = self.dice.choice(busy)
            request = self.dice.choice(held[slot])
            if request.kills:
                self.deaths += 1
                left, held[slot] = held[slot], []
                guilty = found.died(slot, left)
                self.given_up += [guilty] if guilty is not None else []
            else:
                held[slot].remove(request)
                self.answered.append(request)
                if found.is_on_trial(slot, request):
                    found.acquit(slot)
        assert not found.are_there
        assert not any(held.values())


@pytest.mark.parametrize("most_deaths", [1, 2, 5])
@pytest.mark.parametrize("workers", [1, 2, 3, 8])
@pytest.mark.parametrize("killers", [0, 1, 3, 10])
def test_killers_among_a_hundred_innocents(killers: int, workers: int, most_deaths: int) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    for _ in range(10):
        requests = [Asked(f"killer {number}", kills=True) for number in range(killers)]
        requests += [Asked(str(number)) for number in range(100)]
        dice.shuffle(requests)
        world = World(workers, most_deaths, dice)
        world.run(requests)
        assert sorted(request.name for request in world.given_up) == sorted(
            request.name for request in requests if request.kills
        )
        assert len(world.answered) == 100
        assert all(request.deaths == most_deaths for request in world.given_up)
        assert not any(request.deaths for request in world.answered)
        # Each killer's deaths alone, and at most one more in which it was among others or new.
        assert killers * most_deaths <= world.deaths <= killers * (most_deaths + 1)


def test_deaths_that_nobody_caused_count_for_nobody() -> None:
    """A worker that is killed with whatever it holds, over and over."""
    found = suspects()
    requests = [Asked(str(number)) for number in range(5)]
    assert found.died("w0", requests) is None
    for _ in range(50):
        [(slot, suspect)] = found.plan({"w0": 0}, 0.0)
        # The answer is there before the next death.
        assert found.is_on_trial(slot, suspect)
        found.acquit(slot)
        assert found.died(slot, []) is None
        found.waiting.append(suspect)
    assert not any(request.deaths for request in requests)


def test_one_that_was_alone_by_chance_is_no_more_than_a_suspect() -> None:
    found, request = suspects(1), Asked("a")
    assert found.died("w0", [request]) is None
    assert (request.deaths, list(found.waiting)) == (0, [request])
    assert found.plan({"w1": 0}, 0.0) == [("w1", request)]
    assert found.died("w1", [request]) is request


def test_without_retries_one_that_was_alone_is_given_up_at_once() -> None:
    found, request, other = suspects(0), Asked("a"), Asked("b")
    assert found.died("w0", [request, other]) is None
    assert found.plan({"w1": 0}, 0.0) == [("w1", request)]
    assert found.died("w1", [request]) is request
    assert suspects(0).died("w0", [other]) is other


# -- where


def test_one_worker_is_left_for_all_others() -> None:
    found = suspects()
    found.waiting.extend(Asked(str(number)) for number in range(10))
    started = found.plan({"a": 4, "b": 0, "c": 0}, 0.0)
    assert [slot for slot, _ in started] == ["b", "c"]
    assert found.reserved == {"b", "c"}
    assert found.plan({"a": 0, "b": 1, "c": 1}, 0.0) == []
    assert found.reserved == {"b", "c"}


def test_a_busy_worker_is_kept_for_a_suspect_until_it_holds_nothing() -> None:
    found = suspects()
    found.waiting.append(Asked("a"))
    assert found.plan({"a": 4, "b": 2}, 0.0) == []
    assert found.reserved == {"b"}
    assert found.plan({"a": 4, "b": 1}, 0.0) == []
    # One that is empty serves sooner.
    [(slot, _)] = found.plan({"a": 4, "b": 1, "c": 0}, 0.0)
    assert slot == "c"
    assert found.reserved == {"c"}


def test_the_only_worker_tries_suspects_first() -> None:
    found = suspects()
    found.waiting.extend([Asked("a"), Asked("b")])
    for _ in range(2):
        [(slot, _)] = found.plan({"a": 0}, 0.0)
        assert found.reserved == {"a"}
        found.acquit(slot)
    assert found.plan({"a": 0}, 0.0) == []
    assert not found.reserved
    assert not found.are_there


def test_while_nobody_serves_suspects_wait() -> None:
    found = suspects()
    found.waiting.append(Asked("a"))
    assert found.plan({}, 0.0) == []
    assert found.are_there
    assert not found.reserved


# -- how long


def test_a_trial_that_takes_too_long_is_let_go_and_the_next_may_take_twice_as_long() -> None:
    found, request = suspects(), Asked("a")
    limit_s = TRIAL_S
    for _ in range(4):
        found.waiting.append(request)
        assert found.plan({"w0": 0}, 100.0)
        assert not found.expire(100.0 + limit_s)
        assert found.is_on_trial("w0", request)
        assert found.expire(100.0 + limit_s + 0.1)
        assert not found.is_on_trial("w0", request)
        found.plan({"w0": 1}, 100.0)
        assert not found.reserved
        limit_s *= 2
    # A death among others says nothing of it.
    assert found.died("w0", [request, Asked("b")]) is None
    assert request.deaths == 0
