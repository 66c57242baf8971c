"""What `make bundle` finds missing; that it builds is in test_frozen."""

from __future__ import annotations

from pathlib import Path

import pytest

import bundle

SHARED = {"Py_ENABLE_SHARED": 1, "INSTSONAME": "libpython3.11.so.1.0", "VERSION": "3.11", "MULTIARCH": "none"}


def test_a_python_without_its_library_is_named_with_another() -> None:
    fault = bundle.missing_library({"Py_ENABLE_SHARED": 0})
    assert fault is not None
    assert "was built without its shared library" in fault
    assert "make PYTHON=/usr/bin/python3 bundle" in fault


def test_a_library_that_is_not_installed_is_named_with_its_package(tmp_path: Path) -> None:
    variables = {**SHARED, "LIBDIR": str(tmp_path)}
    fault = bundle.missing_library(variables)
    assert fault is not None
    assert "libpython3.11.so.1.0" in fault
    assert "apt-get install libpython3.11" in fault
    (tmp_path / "libpython3.11.so.1.0").touch()
    assert bundle.missing_library(variables) is None


def test_missing_tools_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert [fault.split()[0] for fault in bundle.missing_tools()] == ["objdump", "strip"]
    assert all("apt-get install binutils" in fault for fault in bundle.missing_tools())


def test_faults_end_it_before_anything_is_built(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.setattr("sys.argv", ["bundle.py", "--output", str(tmp_path / "dist")])
    assert bundle.main() == 1
    assert "bundle: strip is not installed" in capsys.readouterr().err
    assert not (tmp_path / "dist").exists()
