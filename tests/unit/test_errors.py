"""Errors: what they say, and how a refusal travels and reads."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

import pytest

from deora import errors
from deora.errors import PROBLEMS, ConfigError, DeoraError, Problem
from deora.wire.frames import pack, unpack


def test_every_error_has_the_one_root_and_carries_message_and_hint() -> None:
    kinds = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]
    assert len(kinds) > 5
    assert all(issubclass(kind, DeoraError) for kind in kinds)
    error = DeoraError("the disk is full", hint="make room")
    assert (str(error), error.message, error.hint) == ("the disk is full", "the disk is full", "make room")
    assert DeoraError("x").hint is None
    assert not DeoraError("x").retryable


def test_a_config_error_names_all_of_its_faults() -> None:
    error = ConfigError(["servers.json: port: 0", "queue.json: on_dead: 'wait'"])
    assert error.problems == ["servers.json: port: 0", "queue.json: on_dead: 'wait'"]
    assert all(f"\n  - {problem}" in str(error) for problem in error.problems)


@pytest.mark.parametrize("kind", PROBLEMS)
def test_every_kind_of_problem_has_an_error_status_and_a_title(kind: str) -> None:
    status, title = PROBLEMS[kind]
    assert HTTPStatus(status).value in range(400, 600)
    assert title
    assert title[0].isupper()
    assert not title.endswith(".")
    assert Problem(kind, "why").status == status


def test_a_problem_is_a_document_of_rfc_9457() -> None:
    problem = Problem("queue-full", "7 entries wait", hint="wait", retry_after_s=5, fields={"entries": 7})
    assert problem.document() == {
        "type": "urn:deora:problem:queue-full",
        "title": "The queue is full",
        "status": 507,
        "detail": "7 entries wait",
        "hint": "wait",
        "entries": 7,
    }
    assert "hint" not in Problem("not-found", "why").document()
    json.dumps(problem.document())


@pytest.mark.parametrize(
    "given",
    [
        {"detail": "why"},
        {"detail": "why", "hint": "do this"},
        {"detail": "why", "retry_after_s": 5},
        {"detail": "ü", "fields": {"version": None, "documents": ["a/1"], "write": 3}},
    ],
)
def test_a_problem_travels_between_processes(given: dict[str, Any]) -> None:
    problem = Problem("precondition-failed", **given)
    again = Problem.from_wire(unpack(pack(problem.to_wire())))
    assert vars(again) == vars(problem)
    assert (str(again), again.document()) == (str(problem), problem.document())


def test_the_fields_of_two_problems_are_their_own() -> None:
    first, second = Problem("not-found", "a"), Problem("not-found", "b")
    first.fields["write"] = 1
    assert second.fields == {}


def test_what_is_out_of_reach_says_when_to_come_again() -> None:
    problem = Problem.out_of_reach("upstream is out", 7, hint="later")
    assert (problem.status, problem.retry_after_s, problem.hint) == (503, 7, "later")
    members = problem.document()
    assert (members["error"], members["message"], members["retryAfter"]) == (members["title"], "upstream is out", 7)
