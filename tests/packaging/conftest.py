"""The bundle, built once for all tests that look at it or run it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def done(command: Sequence[str | Path]) -> str:
    """What a command of the project printed; it has to succeed."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make bundle` puts into dist/, in a folder of the tests' own."""
    folder = tmp_path_factory.mktemp("dist")
    done(["make", "build/venv/installed"])
    done([ROOT / "build" / "venv" / "bin" / "python", "packaging/bundle.py", "--output", folder])
    return folder
