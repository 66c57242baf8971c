"""What `deora start` hands to the supervisor: the checked configuration and the choices of the command line."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from deora.config.schema import Config

ZYGOTE: Final = "_zygote"
"""the word behind `program()` that makes it the zygote"""


@dataclass(frozen=True, slots=True)
class StartOptions:
    """One start.

    `config_dir` is None when the built-in defaults serve. `host` and `port` are those named on the command line and
    win over the configuration; None leaves the choice to it. `argv` is what follows `deora start` with every path
    absolute and without `--detach`: the lock file keeps it, and `deora restart` starts with it again.
    """

    config: Config
    config_dir: Path | None
    data: Path
    host: str | None
    port: int | None
    argv: list[str]


def program() -> list[str]:
    """The command that is this program, as it is installed now.

    That is the path that it was started by, where it was one: a link on that path may point to a newer program by now,
    while the interpreter, or a bundle's executable, is known by the place that the link pointed to.
    """
    named = sys.argv[0]
    if os.path.isabs(named) and os.path.basename(named) == "deora" and os.access(named, os.X_OK):
        return [named]
    return [sys.executable] if getattr(sys, "frozen", False) else [sys.executable, "-m", "deora"]
