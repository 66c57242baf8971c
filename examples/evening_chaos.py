"""What goes wrong on an evening with `--chaos`: the internet fails for an hour, and a worker dies three times.

The plan is tied to the share of writes that are done, not to the clock, so that it means the same on every machine.
The till whose write reaches a mark carries it out, while all others go on.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable

from evening_till import Connection, Document, EveningError

RESTART_PATIENCE_S = 30


class Chaos:
    """Pauses the primary upstream for the middle third and kills the primary worker with SIGKILL three times."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection = Connection(url)
        self._lock = threading.Lock()
        self._killed: list[int] = []
        self._held_back = 0
        self._restarts_before = int(self._primary()["restarts"])
        self._plan: list[tuple[float, Callable[[], None]]] = [
            (1 / 6, self._kill_primary),
            (1 / 3, self._pause),
            (1 / 2, self._kill_primary),
            (2 / 3, self._resume),
            (5 / 6, self._kill_primary),
        ]

    def advance(self, share: float) -> None:
        """The evening has got to `share` (0 to 1) of its writes: do what is due."""
        if not self._plan or share < self._plan[0][0]:
            return
        with self._lock:
            while self._plan and share >= self._plan[0][0]:
                mark, action = self._plan.pop(0)
                print(f"  {mark:4.0%}  ", end="")
                action()

    def put_right(self) -> None:
        """Resume the upstream, whatever happened: an evening that was interrupted leaves nothing paused."""
        Connection(self._url, patience_s=5).send("POST", "/admin/upstreams/primary:resume")

    def findings(self) -> list[str]:
        """What did not happen as planned: an audit that passes without any disturbance would prove nothing."""
        found = []
        if self._plan:
            found.append(f"the evening ended before {len(self._plan)} of the planned disturbances")
        if not self._held_back:
            found.append("nothing waited in the queue while the upstream was paused")
        restarts = int(self._primary()["restarts"]) - self._restarts_before
        if restarts < len(self._killed):
            found.append(f"the primary was killed {len(self._killed)} times but started again {restarts} times")
        return found

    def _primary(self) -> Document:
        """The primary worker's row of `GET /status`."""
        workers: list[Document] = self._connection.get("/status")["workers"]
        return next(worker for worker in workers if worker["slot"] == "primary")

    def _kill_primary(self) -> None:
        deadline = time.monotonic() + RESTART_PATIENCE_S
        while True:
            pid = self._primary()["pid"]  # null while it is down
            if pid is not None and pid not in self._killed:
                break
            if time.monotonic() > deadline:
                raise EveningError(f"the primary worker was not started again within {RESTART_PATIENCE_S} s")
            time.sleep(0.02)
        os.kill(pid, signal.SIGKILL)
        self._killed.append(pid)
        print(f"primary worker killed (pid {pid})")

    def _pause(self) -> None:
        self._post("/admin/upstreams/primary:pause")
        print("upstream paused")

    def _resume(self) -> None:
        self._held_back = int(self._connection.get("/v1/queue")["pending"])
        self._post("/admin/upstreams/primary:resume")
        print(f"upstream resumed, with {self._held_back:,} entries waiting")

    def _post(self, target: str) -> None:
        status, answer = self._connection.send("POST", target)
        if status != 200:
            raise EveningError(f"POST {target} answered {status}: {answer}")
