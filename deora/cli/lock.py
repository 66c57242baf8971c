"""The lock file as the instance has written it: `deora.lock` in the data directory.

It holds `{"pid": int, "argv": [str], "systemd": bool, "control": str | null}`, and may be stale: that an instance runs
is known from its control socket alone, and its process from the kernel (SO_PEERCRED), never from this file.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

LOCK_NAME: Final = "deora.lock"


@dataclass(frozen=True, slots=True)
class LockRecord:
    """What the instance wrote about its start: `argv` is what followed `deora start`; `control` is the folder of its
    control socket, None for the data directory itself."""

    pid: int
    argv: list[str]
    systemd: bool
    control: Path | None


def read_lock(data: Path) -> LockRecord | None:
    """The record in the lock file of `data`; None where there is none that can be understood."""
    try:
        content = json.loads((data / LOCK_NAME).read_bytes())
        pid, argv = content["pid"], content["argv"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not isinstance(pid, int) or not isinstance(argv, list) or not all(isinstance(word, str) for word in argv):
        return None
    control = content.get("control")
    if not isinstance(control, str) or not _is_of(argv, data):
        control = None
    return LockRecord(pid, argv, bool(content.get("systemd")), None if control is None else Path(control))


def _is_of(argv: list[str], data: Path) -> bool:
    """Whether the file was written here: in a copy of a data directory it speaks of the instance on the original."""
    named = dict(zip(argv[::2], argv[1::2], strict=False)).get("--data")
    try:
        return named is not None and data.samefile(named)
    except OSError:
        return False
