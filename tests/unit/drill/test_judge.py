"""The judge itself: each promise that is broken is found, and nothing else is."""

from __future__ import annotations

import pytest

from deora.drill.judge import Findings, Outcome, Sent, check, logs_of, outcome_of

OK, FAIL, UNKNOWN = Outcome.OK, Outcome.FAIL, Outcome.UNKNOWN
A = Sent("a", "t/1", OK, 1)
B = Sent("b", "t/1", OK, 2)
LATE = Sent("late", "t/1", UNKNOWN)


@pytest.mark.parametrize(
    ("history", "applied", "queued"),
    [
        ([A, B], {"t/1": ["a", "b"]}, {}),
        ([A, B], {"t/1": ["a"]}, {"t/1": ["b"]}),
        ([A, B, LATE], {"t/1": ["a", "late", "b"]}, {}),
        ([A, B, LATE], {"t/1": ["a", "b"]}, {}),
        ([Sent("no", "t/1", FAIL), A], {"t/1": ["a"]}, {}),
        ([A, Sent("a", "t/2", OK, 3)], {"t/1": ["a"], "t/2": ["a"]}, {}),
    ],
)
def test_zeros(history: list[Sent], applied: dict[str, list[str]], queued: dict[str, list[str]]) -> None:
    found = check(history, applied, queued)
    assert not found
    assert str(found) == "zeros"


@pytest.mark.parametrize(
    ("history", "applied", "queued", "found"),
    [
        ([A, B], {"t/1": ["b"]}, {}, Findings(lost=["a"])),
        ([A, B], {}, {"t/1": ["b"]}, Findings(lost=["a"])),
        ([A, B], {"t/1": ["a", "b", "a"]}, {}, Findings(doubled=["a"], disordered=["a"])),
        ([A], {"t/1": ["a"]}, {"t/1": ["a"]}, Findings(doubled=["a"])),
        ([LATE], {"t/1": ["late", "late"]}, {}, Findings(doubled=["late"])),
        ([A, B], {"t/1": ["b", "a"]}, {}, Findings(disordered=["a"])),
        ([Sent("no", "t/1", FAIL)], {"t/1": ["no"]}, {}, Findings(false_fail=["no"])),
        ([Sent("no", "t/1", FAIL)], {}, {"t/1": ["no"]}, Findings(false_fail=["no"])),
        ([A], {"t/1": ["a", "x"]}, {}, Findings(strange=["t/1: x"])),
    ],
)
def test_what_is_wrong_is_named(
    history: list[Sent], applied: dict[str, list[str]], queued: dict[str, list[str]], found: Findings
) -> None:
    assert check(history, applied, queued) == found
    assert found
    assert all(token in str(found) for token in [*found.lost, *found.doubled, *found.disordered])


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(200, OK), (202, OK), (400, FAIL), (429, FAIL), (507, FAIL), (500, UNKNOWN), (503, UNKNOWN), (None, UNKNOWN)],
)
def test_what_a_status_tells(status: int | None, outcome: Outcome) -> None:
    assert outcome_of(status) is outcome


def test_a_document_is_its_own_log() -> None:
    documents = {
        "t/whole": {"log": ["a", "b"], "n": 2},
        "t/doubled": {"log": ["a", "b"], "n": 3},
        "t/lost": {"log": ["a", "b"], "n": 1},
    }
    assert logs_of(documents) == {"t/whole": ["a", "b"], "t/doubled": ["a", "b", "b"], "t/lost": ["a"]}
