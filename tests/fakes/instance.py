"""A program that stands in for `deora start`: it serves a control socket and ends on SIGTERM, or does what `FAKE` says.

`FAKE=refuse`: says why and ends with 1. `FAKE=unready`: /health/ready stays 503. `FAKE=stubborn`: ignores SIGTERM.
`FAKE=systemd`: the lock file says that systemd runs it. It prints `ready` once it listens.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from tests.fakes.control import control_server


def run(argv: list[str]) -> int:
    """Runs until SIGTERM. `argv` is what follows the program: `start --data DIR ...`."""
    behaviour = os.environ.get("FAKE", "")
    if behaviour == "refuse":
        print("error: port 3000 is in use", file=sys.stderr)
        return 1
    data = Path(argv[argv.index("--data") + 1])
    data.mkdir(parents=True, exist_ok=True)
    lock = {"pid": os.getpid(), "argv": argv[1:], "systemd": behaviour == "systemd"}
    (data / "deora.lock").write_text(json.dumps(lock), encoding="utf-8")
    # Blocked and waited for, not handled: a signal that comes before the wait is not lost.
    signals = {signal.SIGUSR1 if behaviour == "stubborn" else signal.SIGTERM}
    if behaviour == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    ready = (503, {"title": "not ready"}) if behaviour == "unready" else (200, {"status": "healthy"})
    with control_server(data, {"GET /health/ready": ready}):
        print("ready", flush=True)
        signal.sigwait(signals)
    return 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
