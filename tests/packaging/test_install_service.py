"""The installer, into a folder, and what systemd's own tools say of the units that it puts there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.packaging.conftest import ROOT

SCRIPTS = ("install-service.sh", "packaging/deora.sh")
# What `deora init` does, for an installer that asks no more of the program.
PROGRAM = """#!/bin/sh
[ "$1" = init ] || exit 1
mkdir -p "$3" "$5"
for name in servers logger security; do [ -e "$3/$name.json" ] || echo '{}' >"$3/$name.json"; done
"""


def tool(name: str, package: str) -> str:
    """The path of a tool; the test is skipped, with the package that brings it, where it is missing."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (Debian: apt-get install {package})")
    return found


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """An unpacked tar.gz whose program is a stand-in."""
    folder = tmp_path / "unpacked"
    (folder / "deora" / "_internal").mkdir(parents=True)
    (folder / "deora" / "deora").write_text(PROGRAM)
    (folder / "deora" / "deora").chmod(0o755)
    shutil.copy(ROOT / "install-service.sh", folder)
    shutil.copytree(ROOT / "packaging", folder / "packaging", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder to install into."""
    tool("systemctl", "systemd")
    tool("systemd-sysusers", "systemd")
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


def install(source: Path, *words: str | Path, code: int = 0) -> str:
    """What the installer says; both streams."""
    ended = subprocess.run(
        [source / "install-service.sh", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert ended.returncode == code, ended.stdout
    return ended.stdout


def contents(root: Path) -> dict[str, tuple[int, str]]:
    """Path -> mode, and text or target, of all that is in a folder."""
    found = {}
    for path in root.rglob("*"):
        text = str(path.readlink()) if path.is_symlink() else path.read_text() if path.is_file() else ""
        found[path.relative_to(root).as_posix()] = (path.lstat().st_mode & 0o7777, text)
    return found


def test_what_it_makes(source: Path, root: Path) -> None:
    said = install(source, "--root", root)
    made = contents(root)
    assert made["etc/deora"][0] == 0o750
    assert made["etc/deora/credentials"][0] == 0o700
    assert made["etc/deora/security.json"][0] == 0o640
    assert '"dir": "/var/log/deora"' in made["etc/deora/logger.json"][1]
    assert made["var/lib/deora"][0] == 0o700
    assert made["var/log/deora"][0] == 0o750
    assert made["opt/deora/1/deora"][0] == 0o755
    assert made["opt/deora/program"][1] == "1"
    assert made["usr/local/bin/deora"][0] == 0o755
    assert "etc/systemd/system/multi-user.target.wants/deora-backend.service" in made
    assert "etc/systemd/system/deora-backend.socket" not in made
    assert re.search(r"^deora:.*:/var/lib/deora:/usr/sbin/nologin$", made["etc/passwd"][1], re.MULTILINE)
    for place in ("/opt/deora", "/etc/deora", "/etc/systemd/system/deora-backend.service", "/usr/local/bin/deora"):
        assert place in said
    if os.geteuid() == 0:
        number = int(made["etc/passwd"][1].split(":")[2])
        assert (root / "var/lib/deora").stat().st_uid == number
        assert (root / "etc/deora/security.json").stat().st_uid == 0


def test_again_is_the_same_and_keeps_what_the_operator_wrote(source: Path, root: Path) -> None:
    install(source, "--root", root, "--socket")
    (root / "etc/deora/servers.json").write_text('{"port": 8080}')
    before = contents(root)
    assert "etc/systemd/system/sockets.target.wants/deora-backend.socket" in before
    (source / "deora" / "_internal" / "new").touch()
    install(source, "--root", root)
    after = contents(root)
    # The program is the new one, in a folder of its own, and what was there before is gone.
    assert after["opt/deora/program"][1] == "2"
    assert after["opt/deora/2/_internal/new"]
    assert "opt/deora/1" not in after
    elsewhere = [{path: what for path, what in each.items() if "opt/deora/" not in path} for each in (before, after)]
    assert elsewhere[0] == elsewhere[1]


def test_a_dry_run_changes_nothing(source: Path, root: Path) -> None:
    said = install(source, "--root", root, "--socket", "--dry-run")
    assert contents(root) == {}
    assert said == install(source, "--root", root, "--socket")
    before = contents(root)
    install(source, "--root", root, "--uninstall", "--dry-run")
    assert contents(root) == before


def test_an_uninstallation_keeps_what_is_the_operators(source: Path, root: Path) -> None:
    install(source, "--root", root, "--socket")
    (root / "var/lib/deora/store.db").touch()
    drop_in = root / "etc/systemd/system/deora-backend.service.d"
    drop_in.mkdir()
    said = install(source, "--root", root, "--uninstall")
    left = {path for path in contents(root) if "deora" in path}
    kept = {"etc/deora", "var/lib/deora", "var/log/deora", drop_in.relative_to(root).as_posix()}
    assert {path for path in left if not any(path.startswith(f"{each}/") for each in kept)} == kept
    assert "var/lib/deora/store.db" in left
    for each in kept:
        assert f"/{each}" in said
    # Where nothing is left to be removed it is as good.
    install(source, "--root", root, "--uninstall")


def test_a_virtual_environment_is_used_where_it_is(source: Path, root: Path, tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    (environment / "bin").mkdir(parents=True)
    shutil.copy(source / "deora" / "deora", environment / "bin" / "deora")
    install(source, "--root", root, "--from", environment)
    made = contents(root)
    assert made["opt/deora/program"][1] == f"{environment}/bin"
    assert "opt/deora/1" not in made


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--what"], 2, "usage: "),
        (["--from"], 2, "usage: "),
        (["--from", "/nowhere"], 1, "there is no folder /nowhere"),
        (["--from", "/etc"], 1, "/etc holds no bundle, no virtual environment and no checkout"),
        (["--from", str(ROOT)], 1, "a virtual environment cannot be moved"),
    ],
)
def test_what_it_refuses(source: Path, root: Path, words: list[str], code: int, said: str) -> None:
    assert said in install(source, "--root", root, *words, code=code)
    assert contents(root) == {}


def test_beside_the_debian_package_it_does_nothing(source: Path, root: Path) -> None:
    (root / "usr/lib/deora/bundle").mkdir(parents=True)
    assert "the Debian package deora is installed" in install(source, "--root", root, code=1)


def test_without_systemd_it_says_so(source: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    for name in ("sh", "dirname", "id", "cat"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name) or name)
    ended = subprocess.run(
        [source / "install-service.sh"],
        env={"PATH": str(tmp_path / "bin")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "systemctl is not installed" in ended.stderr
    assert "apt-get install systemd" in ended.stderr


def test_the_units_are_right(source: Path, root: Path) -> None:
    """verify exits with 0 for keys that it does not know: it must print nothing."""
    analyze = tool("systemd-analyze", "systemd")
    install(source, "--root", root, "--socket")
    for name in ("deora-backend.service", "deora-backend.socket"):
        unit = root / "etc/systemd/system" / name
        # The program is looked for where the unit says: here that is below the root.
        unit.write_text(unit.read_text().replace("=/opt/deora", f"={root}/opt/deora"))
        ended = subprocess.run(
            [analyze, "verify", "--man=no", unit],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert (ended.returncode, ended.stdout) == (0, "")


def test_the_service_is_exposed_to_little() -> None:
    """0 is the best, 10 is a service without any protection: 9.6."""
    analyze = tool("systemd-analyze", "systemd")
    command = [analyze, "security", "--offline=true", "--threshold=20", "--no-pager"]
    ended = subprocess.run(
        [*command, ROOT / "packaging/deora-backend.service"], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_the_scripts_are_clean() -> None:
    checked = subprocess.run(
        [tool("shellcheck", "shellcheck"), *SCRIPTS], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout
