"""The command line, as an operator uses it beside an instance."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping

from bench.instance import DEORA, PROJECT, Instance

TIMEOUT_S = 120.0


def deora(
    *words: str, on: Instance | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """`deora WORDS`, which has to end by itself, for this instance where one is named. `env` is added to ours."""
    named = ["--data", str(on.data)] if on is not None else []
    return subprocess.run(
        [*DEORA, *words, *named],
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
        env={**os.environ, "PYTHONPATH": str(PROJECT), **(env or {})},
    )
