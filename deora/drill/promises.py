"""What DEORA promises in each scenario of the drill, and what a run of it came to. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from deora.drill.judge import Findings

RECOVERY_S: Final = 30.0
"""Within this all is as before the fault, on any box that DEORA is meant for."""
ALWAYS: Final = "nothing that was acknowledged is lost, nothing takes effect twice or out of order"
FULL: Final = 507
SHOWN: Final = 5


class Needs(Enum):
    """Which upstream a scenario asks for."""

    ANY = "any"
    """the embedded one"""
    SERVER = "server"
    """the drill's own; where its client is not installed the embedded one will do"""
    NETWORK = "network"
    """the drill's own: a file has no network"""


@dataclass(frozen=True, slots=True)
class Promise:
    """One scenario: what is done (`fault`), what has to hold, what to look at where it does not.

    `tolerated`: answers that are no failure of DEORA's here; None is a connection without an answer. `recovered`: what
    the time to recover is the time of.
    """

    name: str
    fault: str
    holds: str
    look: str
    recovered: str
    tolerated: Collection[int | None] = ()
    needs: Needs = Needs.ANY

    @property
    def words(self) -> str:
        """The whole of it."""
        return f"{ALWAYS}; {self.holds}"


_NO_REQUEST: Final = "no request fails"
_UPSTREAM_LOG: Final = "the lines of deora.replay in the scratch instance's log"

PROMISES: Final = (
    Promise(
        "kill-primary",
        "kill -9 of the primary worker, again and again",
        f"{_NO_REQUEST}: what the worker held goes to the other one",
        "the restarts and the reason of the worker in the log; memory (dmesg) and the limits of the user (ulimit -a)",
        "from the last kill until a new primary serves",
    ),
    Promise(
        "kill-store",
        "kill -9 of the store, again and again",
        f"{_NO_REQUEST}: commits wait for the next store, and what was acknowledged is in its file",
        "the lines of deora.store in the log; whether the disk keeps what was synced (write caches, network disks)",
        "from the last kill until a new store serves",
    ),
    Promise(
        "kill-all",
        "kill -9 of every process, and a new start",
        "what was acknowledged is there, and a request that is repeated with its key takes effect once",
        "what the second start says in the log; whether the disk keeps what was synced (write caches, network disks)",
        "from the kill until the new start serves",
        tolerated=(None, 502, 503),
    ),
    Promise(
        "upstream-outage",
        "upstream takes nothing, then it does again",
        f"{_NO_REQUEST}: writes wait in the queue, then all of them arrive, once and in order",
        _UPSTREAM_LOG,
        "from upstream's return until the queue is empty",
        needs=Needs.SERVER,
    ),
    Promise(
        "network-partition",
        "upstream is silent; what was sent to it takes effect late, and its answers are lost",
        f"{_NO_REQUEST}: a batch that lands late lands once",
        _UPSTREAM_LOG,
        "from the network's return until the queue is empty",
        needs=Needs.NETWORK,
    ),
    Promise(
        "lost-answers",
        "of every two commits upstream one takes effect and its answer is lost",
        f"{_NO_REQUEST}: the cursor tells what has landed, and nothing lands twice",
        _UPSTREAM_LOG,
        "from the first answer that is not lost until the queue is empty",
        needs=Needs.NETWORK,
    ),
    Promise(
        "disk-full",
        "the files of the store may not grow (RLIMIT_FSIZE)",
        "new writes are refused with 507 and nothing else; reads go on, and so does the queue's way upstream",
        "the lines of deora.store in the log: what it says of room, and when",
        "from the moment that there is room until a write is taken",
        tolerated=(FULL,),
    ),
    Promise(
        "slow-disk",
        "the store stands still for 0.4 s of each 0.5 s (SIGSTOP, SIGCONT)",
        f"{_NO_REQUEST}: writes take longer",
        "whether the store was taken for hung and killed: its restarts in the log",
        "from the last pulse until a write is answered",
    ),
    Promise(
        "reload",
        "`deora reload` with a changed configuration, and every child is another process",
        _NO_REQUEST,
        "the answer of the reload, and which of the children did not start, in the log",
        "the time that the reload took",
    ),
)
NAMES: Final = tuple(promise.name for promise in PROMISES)


class Verdict(Enum):
    """What a scenario shows."""

    HELD = "held"
    BROKEN = "broken"
    NOT_RUN = "not run"


@dataclass(frozen=True, slots=True)
class Result:
    """A scenario's row. `complaints`: what was broken, one sentence each; for one that was not run, why."""

    promise: Promise
    verdict: Verdict
    requests: int = 0
    failed: int = 0
    lost: int = 0
    doubled: int = 0
    recovered_s: float | None = None
    complaints: list[str] = field(default_factory=list)
    kept: str | None = None
    """the scratch folder, where it was kept"""


def failed(status: int | None) -> bool:
    """Whether a request has failed in its client's eyes. A document that is not there is an answer."""
    return status is None or (status >= 400 and status != 404)


def judged(
    promise: Promise,
    statuses: Iterable[int | None],
    findings: Findings,
    *,
    stale: Sequence[str] = (),
    recovered_s: float | None,
    troubles: Sequence[str] = (),
    kept: str | None = None,
) -> Result:
    """The row of a scenario that was run.

    `statuses`: of all answers, None where there was none. `stale`: reads that did not show an acknowledged write.
    `troubles`: what did not come to pass that had to.
    """
    statuses = list(statuses)
    failures = [status for status in statuses if failed(status)]
    complaints = [*troubles, *_failures(promise, failures), *_findings(findings)]
    if stale:
        complaints.append(f"{len(stale)} reads did not show what was acknowledged before: {_some(stale)}")
    if not statuses:
        complaints.append("no request was sent")
    if recovered_s is not None and recovered_s > RECOVERY_S:
        complaints.append(f"it took {recovered_s:.1f} s to recover; {RECOVERY_S:g} s are allowed")
    return Result(
        promise,
        Verdict.BROKEN if complaints else Verdict.HELD,
        len(statuses),
        len(failures),
        len(findings.lost),
        len(findings.doubled),
        recovered_s,
        complaints,
        kept if complaints else None,
    )


def all_held(results: Iterable[Result]) -> bool:
    """Whether no promise was broken, and at least one was put to the test."""
    verdicts = {result.verdict for result in results}
    return Verdict.HELD in verdicts and Verdict.BROKEN not in verdicts


def _failures(promise: Promise, failures: Sequence[int | None]) -> list[str]:
    """Failed requests that the scenario does not explain."""
    unexplained = [status for status in failures if status not in promise.tolerated]
    if not unexplained:
        return []
    kinds = sorted({"no answer" if status is None else str(status) for status in unexplained})
    return [f"{len(unexplained)} requests failed that had to be answered: {', '.join(kinds)}"]


_WORDS: Final = {
    "lost": "acknowledged writes are lost",
    "doubled": "writes took effect twice",
    "disordered": "writes took effect out of order",
    "false_fail": "writes took effect although their client was told that they failed",
    "strange": "writes took effect that nobody sent",
}


def _findings(findings: Findings) -> list[str]:
    """What the judge has found, in words."""
    found = [(words, getattr(findings, name)) for name, words in _WORDS.items()]
    return [f"{len(tokens)} {words}: {_some(tokens)}" for words, tokens in found if tokens]


def _some(words: Sequence[str]) -> str:
    """The first of them."""
    return ", ".join(words[:SHOWN]) + (", ..." if len(words) > SHOWN else "")
