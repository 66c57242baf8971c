"""One scenario from start to verdict: a scratch instance, load, the fault, the drain, the judge."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

from deora.drill.faults import FAULTS, PATIENCE_S, drained
from deora.drill.firestore import Firestore
from deora.drill.judge import Findings, check, logs_of
from deora.drill.promises import Needs, Promise, Result, Verdict, judged
from deora.drill.scratch import Broken, Scratch
from deora.drill.tills import Tills
from deora.drill.upstreams import Embedded, Upstream

TILLS: Final = 8
WRITES_PER_S: Final = 100.0
LOAD: Final = "tills"
# The breaker's 60 s are for a day without a network; a drill of seconds wants to see it close again.
BREAKER: Final = {"timeout_s": 1.0}
CALM_SHARE: Final = 0.2
"""of the seconds of a scenario, how much load runs before its fault, and again behind it"""


@dataclass(frozen=True, slots=True)
class Drill:
    """How each scenario is run.

    `folder`: where each has a folder of its own. `seconds`: how long its load runs, about. `has_client`: whether the
    client of the drill's own upstream is installed. `say` is told what is being done. `seed` decides which till writes
    what, and which answers upstream loses.
    """

    folder: Path
    seconds: float
    has_client: bool
    say: Callable[[str], None]
    seed: int = 0

    def run(self, promise: Promise) -> Result:
        """The row of a scenario. Never raises for what goes wrong in the scratch instance."""
        if promise.needs is Needs.NETWORK and not self.has_client:
            return Result(promise, Verdict.NOT_RUN, complaints=[MISSING])
        folder = Path(mkdtemp(prefix=f"{promise.name}-", dir=self.folder))
        result = None
        try:
            result = self._judged(promise, folder)
        finally:
            if result is None or result.verdict is Verdict.HELD:
                shutil.rmtree(folder, ignore_errors=True)
        return result

    def _judged(self, promise: Promise, folder: Path) -> Result:
        findings, recovered_s, troubles = Findings(), None, []
        with self._upstream(promise, folder / "data") as upstream:
            scratch = Scratch(folder, {"database": {"primary": upstream.config, "breaker": BREAKER}})
            tills = Tills(scratch.url, TILLS, seed=self.seed, rate=WRITES_PER_S, reads=1, collection=LOAD)
            with scratch:
                try:
                    self.say("starts a scratch instance")
                    scratch.start()
                    recovered_s = self._loaded(promise, scratch, upstream, tills)
                except Broken as error:
                    troubles.append(error.message)
                # What was lost or doubled is told all the same.
                try:
                    self.say("waits until upstream has all, and judges")
                    drained(scratch)
                    findings = audit(scratch, upstream, tills)
                    scratch.stop()
                except Broken as error:
                    troubles.append(error.message)
        statuses = [timed.status for timed in (*tills.writes, *tills.reads)]
        return judged(
            promise,
            statuses,
            findings,
            stale=tills.stale,
            recovered_s=recovered_s,
            troubles=list(dict.fromkeys(troubles)),
            kept=str(folder),
        )

    def _loaded(self, promise: Promise, scratch: Scratch, upstream: Upstream, tills: Tills) -> float:
        """The fault in the middle of the load; the seconds to recover. Raises Broken."""
        calm_s = self.seconds * CALM_SHARE
        with tills:
            self.say("puts load on it")
            scratch.wait_until(lambda: len(tills.history) >= TILLS, "the first writes are answered", PATIENCE_S)
            time.sleep(calm_s)
            self.say(promise.fault)
            recovered_s = FAULTS[promise.name](scratch, upstream, self.seconds - 2 * calm_s)
            self.say("goes on with the load")
            time.sleep(calm_s)
        return recovered_s

    def _upstream(self, promise: Promise, data: Path) -> Upstream:
        if promise.needs is Needs.ANY or not self.has_client:
            return Embedded(data)
        return Firestore(self.seed)


MISSING: Final = (
    "it needs an upstream behind a network, and the client of that one is not installed: pip install 'deora[firestore]'"
)


def audit(scratch: Scratch, upstream: Upstream, tills: Tills) -> Findings:
    """Judges the load by upstream's documents and what the queue still holds. Nothing may move. Raises Broken."""
    logs = {path: data for path, data in upstream.documents().items() if path.startswith(f"{LOAD}/")}
    queued = {path: tokens for path, tokens in scratch.queued().items() if path.startswith(f"{LOAD}/")}
    return check(tills.history, logs_of(logs), queued)


@contextmanager
def drill_folder(directory: Path | None) -> Iterator[Path]:
    """A folder for a drill in `directory` (None: the system's temporary one); removed where it is empty."""
    folder = Path(mkdtemp(prefix="deora-drill-", dir=directory))
    try:
        yield folder
    finally:
        if not any(folder.iterdir()):
            folder.rmdir()
