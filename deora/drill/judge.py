"""The judge of the drill and of every fault test: what clients were told against what upstream did. Pure.

Each write of a client carries a token that names it. Upstream's log lists, for each document, the tokens in the order
in which they took effect. Then must hold:

* `OK`: applied once, or still in the queue (waiting, or dead with upstream's own message), never both;
* `FAIL` (a 4xx, or the 507 of the admission check): never applied;
* `UNKNOWN` (any other 5xx, a time-out, a reset): applied at most once;
* per document, what was acknowledged is applied in the order in which it was acknowledged.

A document that the load writes is its own log: `logged(token)` is an update that appends the token to `log` and adds
1 to `n`. An array union hides a write that comes twice, the counter does not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class Outcome(Enum):
    """What a client knows of its write."""

    OK = "ok"
    FAIL = "fail"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Sent:
    """A write as its client saw it. `commit` is the number in the answer, which orders what was acknowledged."""

    token: str
    path: str
    outcome: Outcome
    commit: int | None = None


@dataclass(slots=True)
class Findings:
    """What is wrong, as tokens. All empty: zeros."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    disordered: list[str] = field(default_factory=list)
    false_fail: list[str] = field(default_factory=list)
    """applied, or queued, although the client was told that it failed"""
    strange: list[str] = field(default_factory=list)
    """applied, and no client has sent it"""

    def __bool__(self) -> bool:
        return any((self.lost, self.doubled, self.disordered, self.false_fail, self.strange))

    def __str__(self) -> str:
        counts = {name: getattr(self, name) for name in self.__slots__}
        return ", ".join(f"{len(found)} {name} {found[:5]}" for name, found in counts.items() if found) or "zeros"


def outcome_of(status: int | None) -> Outcome:
    """What an HTTP status, or none at all, tells a client of its write."""
    if status is None:
        return Outcome.UNKNOWN
    if 200 <= status < 300:
        return Outcome.OK
    return Outcome.FAIL if 400 <= status < 500 or status == 507 else Outcome.UNKNOWN


def check(
    history: Iterable[Sent], applied: Mapping[str, Sequence[str]], queued: Mapping[str, Sequence[str]] | None = None
) -> Findings:
    """Judges `history` by upstream's log and by what the queue still holds; both map paths to tokens in order."""
    queued = queued or {}
    history = list(history)
    findings = Findings()
    times = Counter((path, token) for log in (applied, queued) for path, tokens in log.items() for token in tokens)
    for sent in history:
        found = times.pop((sent.path, sent.token), 0)
        if found > 1:
            findings.doubled.append(sent.token)
        if sent.outcome is Outcome.OK and not found:
            findings.lost.append(sent.token)
        if sent.outcome is Outcome.FAIL and found:
            findings.false_fail.append(sent.token)
    findings.strange = [f"{path}: {token}" for path, token in times]
    findings.disordered = _disordered(history, applied)
    return findings


def _disordered(history: list[Sent], applied: Mapping[str, Sequence[str]]) -> list[str]:
    """The tokens that were applied before one of the same document which was acknowledged earlier."""
    commits = {(sent.path, sent.token): sent.commit for sent in history if sent.outcome is Outcome.OK}
    found = []
    for path, tokens in applied.items():
        last = -1
        for token in tokens:
            commit = commits.get((path, token))
            if commit is None:
                continue
            if commit < last:
                found.append(token)
            last = max(last, commit)
    return found


def logged(token: str) -> dict[str, Any]:
    """The body of a PATCH with `?upsert=true` that makes a document its own log."""
    return {"log": {"$arrayUnion": [token]}, "n": {"$increment": 1}}


def logs_of(documents: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """The log of each document that `logged` wrote, by path.

    A counter ahead of its log tells of a write that came twice, one behind it of an increment that is missing.
    """
    logs: dict[str, list[str]] = {}
    for path, data in documents.items():
        log = list(data["log"])
        ahead = data["n"] - len(log)
        logs[path] = log[:ahead] if ahead < 0 else log + log[-1:] * ahead
    return logs
