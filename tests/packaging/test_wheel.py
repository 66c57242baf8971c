"""The wheel that `pip install .` makes: complete, and with nothing in it but deora."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The names of the files in a wheel that is built from a copy of the project."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "LICENSE", "README.md"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "deora", source / "deora", ignore=shutil.ignore_patterns("__pycache__"))
    (source / "tests").mkdir()
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index"]
    built = subprocess.run([*command, "-w", str(folder), str(source)], check=False, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = folder.glob("deora-*.whl")
    with zipfile.ZipFile(wheel) as content:
        return content.namelist()


def test_holds_every_file_of_the_package(names: list[str]) -> None:
    """Python, SQL and whatever else lies under deora/."""
    files = (path for path in (ROOT / "deora").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    left_out = {path.relative_to(ROOT).as_posix() for path in files} - set(names)
    assert not left_out


def test_holds_nothing_else(names: list[str]) -> None:
    """Neither tests nor tools are installed."""
    assert {name.split("/")[0].split("-")[0] for name in names} == {"deora"}
    assert any(name.endswith("entry_points.txt") for name in names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
