"""Slots, and what a child is to others."""

from __future__ import annotations

import asyncio

from deora.config.schema import Config
from deora.gateway.requests import Request, Worker
from deora.supervisor.children import children_of
from deora.supervisor.roster import Duty, Event, State
from tests.fakes.star import KeptLink, incoming


def test_the_store_comes_first_and_several_workers_of_a_role_are_numbered() -> None:
    config = Config.from_wire({"servers": {"primary": {"workers": 2, "weight": 5}}})
    children = children_of(config)
    assert [child.member.slot for child in children] == ["store", "primary", "primary-2", "secondary", "replayer"]
    assert [child.name for child in children] == ["store", "primary", "primary", "secondary", "replayer"]
    assert [child.server.weight for child in children if child.server is not None] == [5, 5, 30]


def test_nobody_in_maintenance_is_judged() -> None:
    child = children_of(Config.from_wire({}))[1]
    judged = [child.is_judged]
    child.member.state, child.link = State.UP, KeptLink()
    for duty in Duty:
        child.member.duty = duty
        judged.append(child.is_judged)
    assert dict(zip((None, *Duty), judged, strict=True)) == {
        None: False,
        Duty.READY: True,
        Duty.DRAIN: True,
        Duty.MAINT: False,
    }


def test_what_it_holds() -> None:
    child = children_of(Config.from_wire({}))[1]
    assert child.held == 0
    child.worker = Worker("primary", b"primary", 1, KeptLink())
    child.worker.held[1] = Request(1, incoming("GET", "/"), b"r", 0.0)
    assert child.held == 1


def test_a_successor_is_of_a_later_generation_and_as_blank_as_any() -> None:
    child = children_of(Config.from_wire({}))[1]
    child.member.move(Event.SPAWN)
    child.member.move(Event.HELLO)
    child.pid, child.ended = 7, asyncio.Event()
    successor = child.successor()
    assert (successor.member.slot, successor.name, successor.server) == ("primary", "primary", child.server)
    assert (successor.member.state, successor.pid, successor.member.duty) == (State.DOWN, None, Duty.READY)
    successor.member.move(Event.SPAWN)
    assert (successor.member.generation, successor.member.restarts) == (2, 1)
