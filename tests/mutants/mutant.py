"""A mutant: one small patch that breaks a promise, and the tests that must notice.

A `.patch` file begins with one sentence, what it breaks, and lines `tests: ...` with arguments for pytest. Then comes
a diff as git writes it.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).resolve().parent
PROJECT: Final = FOLDER.parent.parent
_TESTS: Final = "tests:"


@dataclass(frozen=True, slots=True)
class Mutant:
    """One patch file, read."""

    file: Path
    breaks: str
    tests: list[str]

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return self.file.stem

    def apply(self, tree: Path, *, check_only: bool = False) -> None:
        """Patches the files below `tree`. Raises subprocess.CalledProcessError where the patch does not fit."""
        options = ["--check"] if check_only else []
        command = ["git", "apply", "--unidiff-zero", *options, str(self.file)]
        subprocess.run(command, cwd=tree, check=True, capture_output=True, text=True)


def read(file: Path) -> Mutant:
    """The mutant in a patch file. Raises ValueError where it does not say what it breaks, or which tests must fail."""
    head = file.read_text(encoding="utf-8").partition("diff --git ")[0].splitlines()
    tests = [argument for line in head if line.startswith(_TESTS) for argument in line.removeprefix(_TESTS).split()]
    breaks = " ".join(line for line in head if line and not line.startswith(_TESTS))
    if not breaks or not tests:
        raise ValueError(f"{file.name} must begin with what it breaks, and name the tests that must fail")
    return Mutant(file, breaks, tests)


def mutants() -> list[Mutant]:
    """All mutants, by name."""
    return [read(file) for file in sorted(FOLDER.glob("*.patch"))]
