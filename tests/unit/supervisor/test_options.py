"""What DEORA executes where it executes itself."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from deora.supervisor.options import program


@pytest.mark.parametrize("frozen", [False, True])
def test_it_is_what_the_path_that_it_was_started_by_leads_to_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frozen: bool
) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "deora").touch(mode=0o755)
    (tmp_path / "program").symlink_to("1")
    monkeypatch.setattr(sys, "frozen", frozen, raising=False)
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "program" / "deora"), "start"])
    assert program() == [f"{tmp_path}/program/deora"]


@pytest.mark.parametrize("named", ["deora", "bin/deora", "/nowhere/deora", "/bin/sh", "", "/"])
def test_any_other_name_tells_nothing(monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    monkeypatch.setattr(sys, "argv", [named, "start"])
    assert program() == [sys.executable, "-m", "deora"]
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert program() == [sys.executable]
