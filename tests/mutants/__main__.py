"""`make mutants`: breaks each promise on purpose, in a copy of the project, and looks whether the tests notice.

    python -m tests.mutants [NAME ...]

First the named tests must pass unbroken; then, for each mutant, at least one of its tests must fail.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.mutants.mutant import PROJECT, Mutant, mutants

COPIED = (
    "deora",
    "bench",
    "tests",
    "examples",
    "packaging",
    "config",
    "docs",
    "pyproject.toml",
    "README.md",
    "Makefile",
)
# What pytest exits with.
PASSED, FAILED = 0, 1


def main(names: list[str]) -> int:
    """Runs the named mutants, or all. Returns 0 where every one was found out."""
    chosen = [mutant for mutant in mutants() if not names or mutant.name in names]
    unknown = set(names) - {mutant.name for mutant in chosen}
    if unknown:
        print(f"no such mutant: {', '.join(sorted(unknown))}; there are: {', '.join(one.name for one in mutants())}")
        return 2
    survivors = [mutant.name for mutant in chosen if not _found_out(mutant)]
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} mutants were found out")
    if survivors:
        print(f"the tests did not notice: {', '.join(survivors)}")
    return 1 if survivors else 0


def _found_out(mutant: Mutant) -> bool:
    print(f"{mutant.name}: {mutant.breaks}", flush=True)
    with tempfile.TemporaryDirectory(prefix="deora-mutant-") as folder:
        tree = Path(folder)
        _copy(tree)
        unbroken = _run(tree, mutant.tests)
        if unbroken.returncode != PASSED:
            print(f"  cannot tell: its tests fail without it\n{unbroken.stdout[-3000:]}")
            return False
        mutant.apply(tree)
        began_s = time.monotonic()
        broken = _run(tree, mutant.tests)
    verdict = {PASSED: "SURVIVED", FAILED: "found out"}.get(broken.returncode, f"pytest exited {broken.returncode}")
    last = broken.stdout.strip().splitlines()[-1:]
    print(f"  {verdict} in {time.monotonic() - began_s:.0f} s: {''.join(last)}", flush=True)
    return broken.returncode == FAILED


def _copy(tree: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__", ".hypothesis")
    for name in COPIED:
        source = PROJECT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=ignored)
        elif source.exists():
            shutil.copy2(source, tree / name)


def _run(tree: Path, tests: list[str]) -> subprocess.CompletedProcess[str]:
    """Runs pytest on the copy, whose own modules are found first."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
