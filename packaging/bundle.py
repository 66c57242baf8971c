"""Makes what a box without Python is installed from: `make bundle`.

    deora/                              the program and all it needs: PyInstaller's folder, stripped
    deora-VERSION-linux-ARCH.tar.gz     the same, with the units and install-service.sh
    deora_VERSION_ARCH.deb              the same, as a Debian package

    python packaging/bundle.py [--onefile] [--output DIR]        DIR is dist/ unless it is named

Run by a Python that has PyInstaller and DEORA's extras: `make bundle` sets one up in build/venv. With --onefile it
makes deora-onefile alone, a single file to try DEORA with.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bundle_archives import Member, folder_members, write_deb, write_tar
from bundle_debian import ARCHITECTURES, control, documents, scripts
from deora import __version__

ROOT = Path(__file__).resolve().parent.parent
# What install-service.sh takes from beside itself.
BESIDE = ("deora-backend.service", "deora-backend.socket", "deora.sh", "deora.sysusers", "logger.json")
# Where install-service.sh puts the program, and where the Debian package does.
HOME = "/opt/deora"
PACKAGED_HOME = "/usr/lib/deora"


class BundleError(Exception):
    """The bundle cannot be made; the message says why and what to do."""


def missing_tools() -> Iterator[str]:
    """What PyInstaller needs and this machine lacks, each with its remedy."""
    for tool in ("objdump", "strip"):
        if shutil.which(tool) is None:
            yield f"{tool} is not installed (Debian: apt-get install binutils)"


def missing_library(variables: dict[str, object]) -> str | None:
    """Why this Python cannot be bundled: PyInstaller needs its shared library. `variables` are sysconfig's."""
    if not variables.get("Py_ENABLE_SHARED"):
        return (
            f"{sys.executable} was built without its shared library; name another Python: "
            "make PYTHON=/usr/bin/python3 bundle (pyenv: PYTHON_CONFIGURE_OPTS=--enable-shared pyenv install ...)"
        )
    name = str(variables["INSTSONAME"])
    folders = [variables.get("LIBDIR"), f"/usr/lib/{variables.get('MULTIARCH')}", "/usr/lib"]
    if any(Path(str(folder), name).exists() for folder in folders):
        return None
    package = "libpython" + str(variables["VERSION"])
    return f"{name}, Python's shared library, is not installed (Debian: apt-get install {package})"


def build(output: Path, *, one_file: bool) -> Path:
    """Runs PyInstaller; the program that it made below `output`."""
    command = [sys.executable, "-m", "PyInstaller", "--noconfirm", "--log-level", "WARN"]
    environment = {**os.environ, "DEORA_BUNDLE": "onefile" if one_file else "folder"}
    with tempfile.TemporaryDirectory() as work:
        command += ["--distpath", str(output), "--workpath", work, str(ROOT / "packaging" / "deora.spec")]
        done = subprocess.run(command, cwd=ROOT, env=environment, check=False)
    program = output / ("deora-onefile" if one_file else "deora/deora")
    if done.returncode != 0 or not program.is_file():
        raise BundleError("PyInstaller failed; what it said stands above")
    return program


def archive_members(output: Path, top: str) -> Iterator[Member]:
    """What the tar.gz holds: as a checkout has it, but for the program in the place of its source."""
    yield from folder_members(output / "deora", f"{top}/deora")
    yield Member.of_file(ROOT / "install-service.sh", f"{top}/install-service.sh", 0o755)
    for name in BESIDE:
        yield Member.of_file(ROOT / "packaging" / name, f"{top}/packaging/{name}", 0o644)
    for name in ("docs/installation.md", "LICENSE"):
        yield Member.of_file(ROOT / name, f"{top}/{name}", 0o644)


def package_members(output: Path, moment_s: int) -> Iterator[Member]:
    """What the Debian package puts into the file system."""
    yield from folder_members(output / "deora", "usr/lib/deora/bundle")
    for name, target, mode in (
        ("deora-backend.service", "usr/lib/systemd/system/deora-backend.service", 0o644),
        ("deora-backend.socket", "usr/lib/systemd/system/deora-backend.socket", 0o644),
        ("deora.sh", "usr/bin/deora", 0o755),
    ):
        text = (ROOT / "packaging" / name).read_text(encoding="utf-8").replace(HOME, PACKAGED_HOME)
        yield Member(target, mode, text.encode())
    # What makes the user, the folders and the configuration, wherever DEORA is installed from.
    yield Member.of_file(ROOT / "install-service.sh", "usr/share/deora/install-service.sh", 0o755)
    for name in ("deora.sysusers", "logger.json"):
        yield Member.of_file(ROOT / "packaging" / name, f"usr/share/deora/packaging/{name}", 0o644)
    yield Member.of_file(ROOT / "docs" / "installation.md", "usr/share/doc/deora/installation.md", 0o644)
    yield from documents(__version__, (ROOT / "LICENSE").read_text(encoding="utf-8"), moment_s)


def write_archives(output: Path) -> Iterator[Path]:
    """Writes the tar.gz and the Debian package of the folder that was built."""
    machine = platform.machine()
    moment_s = int(os.environ.get("SOURCE_DATE_EPOCH") or (ROOT / "deora" / "__init__.py").stat().st_mtime)
    top = f"deora-{__version__}-linux-{machine}"
    yield write_tar(output / f"{top}.tar.gz", archive_members(output, top), moment_s)
    architecture = ARCHITECTURES.get(machine, machine)
    members = list(package_members(output, moment_s))
    package = output / f"deora_{__version__}_{architecture}.deb"
    yield write_deb(package, control(__version__, architecture, members), scripts(), members, moment_s)


def size_bytes(path: Path) -> int:
    """What a file takes, or the folder of a program."""
    files = path.parent.rglob("*") if path.name == "deora" else [path]
    return sum(file.stat().st_size for file in files)


def main() -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Makes the bundle.")
    parser.add_argument("--onefile", action="store_true", help="a single file instead, to try DEORA with")
    parser.add_argument("--output", type=Path, default=ROOT / "dist", metavar="DIR", help="where it goes [dist]")
    chosen = parser.parse_args()
    faults = [*missing_tools(), *filter(None, [missing_library(sysconfig.get_config_vars())])]
    if faults:
        print("\n".join(f"bundle: {fault}" for fault in faults), file=sys.stderr)
        return 1
    try:
        made = [build(chosen.output, one_file=chosen.onefile)]
    except BundleError as error:
        print(f"bundle: {error}", file=sys.stderr)
        return 1
    if not chosen.onefile:
        made += write_archives(chosen.output)
    for path in made:
        print(f"{size_bytes(path) / 1e6:6.1f} MB  {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
