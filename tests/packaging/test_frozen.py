"""The bundle: what is in it, and that it does what the source does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import psutil
import pytest

from bench.instance import Instance
from tests.fakes.footprint import MIB, sample
from tests.packaging.conftest import ROOT

pytestmark = pytest.mark.torture

# The spine: create, read, update, query; pause, wait, drain; kill -9 of each process; reload and upgrade under load.
SPINE = [
    f"tests/process/test_{name}.py" for name in ("api", "reading", "outage", "kills", "reload", "upgrade", "starts")
]

# It puts another source in the place of the one that runs.
OF_THE_SOURCE = "test_a_version_that_does_not_know_the_schema"


def deora(bundle: Path, *words: str, **environment: str) -> str:
    """What a command of the bundle prints; no Python of this machine is in its way."""
    ended = subprocess.run(
        [bundle / "deora" / "deora", *words], env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_what_is_inside_and_what_is_not(bundle: Path) -> None:
    files = [path for path in (bundle / "deora").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 60e6
    names = {path.relative_to(bundle / "deora").as_posix() for path in files}
    for folder in ("store/migrations", "outbox"):
        wanted = {f"_internal/deora/{folder}/{path.name}" for path in (ROOT / "deora" / folder).glob("*.sql")}
        assert wanted
        assert wanted <= names
    assert not [name for name in names if any(part in name for part in ("tkinter", "_multiprocessing", "tests/"))]
    for program in (bundle / "deora" / "deora", *(path for path in files if ".so" in path.name)):
        sections = subprocess.run(["objdump", "-h", program], capture_output=True, text=True, check=True).stdout
        assert ".debug_info" not in sections


def test_the_archive_holds_what_its_installer_needs(bundle: Path) -> None:
    [file] = bundle.glob("deora-*-linux-*.tar.gz")
    with tarfile.open(file) as archive:
        top = file.name.removesuffix(".tar.gz")
        names = {name.removeprefix(f"{top}/") for name in archive.getnames()}
        assert {member.uid for member in archive} == {0}
    assert {"install-service.sh", "packaging/deora-backend.service", "deora/deora", "docs/installation.md"} <= names


def test_lintian_finds_no_error_in_the_package(bundle: Path) -> None:
    if shutil.which("lintian") is None:
        pytest.skip("lintian is not installed (Debian: apt-get install lintian)")
    [package] = bundle.glob("deora_*.deb")
    said = subprocess.run(["lintian", package], capture_output=True, text=True, check=False).stdout
    assert [line for line in said.splitlines() if not line.startswith("W: deora: no-manual-page")] == []


def test_its_commands(bundle: Path) -> None:
    versions = json.loads(deora(bundle, "version", "--json"))
    assert set(versions) == {"version", "python", "sqlite"}
    assert "Start an instance" in deora(bundle, "start", "--help")


def test_an_instance_its_figures_and_its_upgrade(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.instance.DEORA", [str(bundle / "deora" / "deora")])
    took_s = []
    for number in range(3):
        with Instance(tmp_path / str(number)) as one:
            took_s.append(one.wait_until_ready())
            one.wait_until_whole()
            if number < 2:
                continue
            data = ["--data", str(one.data)]
            assert "healthy" in deora(bundle, "status", *data)
            assert "waiting" in deora(bundle, "queue", *data).lower()
            samples = sample(one)
            pid = one.pid
            assert f"pid {pid}" in deora(bundle, "upgrade", *data)
            assert one.status()["supervisor"]["pid"] == pid
            assert {Path(process.exe()) for process in psutil.Process(pid).children()} == {bundle / "deora" / "deora"}
    pss, rss = sum(each.pss for each in samples) / MIB, sum(each.rss for each in samples) / MIB
    print(f"\nstart to ready {min(took_s):.2f} s, idle tree PSS {pss:.0f} MiB, RSS {rss:.0f} MiB")
    assert min(took_s) < 1.5
    assert pss < 120


def test_the_spine_and_the_kills(bundle: Path) -> None:
    """The process tests, with the bundle's program in the place of the source."""
    environment = {**os.environ, "BUNDLED_DEORA": str(bundle / "deora" / "deora")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", f"not {OF_THE_SOURCE}", *SPINE]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    print(ended.stdout[-2000:])
    assert ended.returncode == 0, ended.stdout[-8000:]
