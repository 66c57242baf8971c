"""Makes what a box without Python is installed from, in dist/: `make bundle`.

    deora/                              the program and all it needs: PyInstaller's folder, stripped
    deora-VERSION-linux-ARCH.tar.gz     the same, with the units and install-service.sh
    deora_VERSION_ARCH.deb              the same, as a Debian package

    python packaging/bundle.py [--onefile]

Run by a Python that has PyInstaller and DEORA's extras: `make bundle` sets one up in build/venv. With --onefile it
makes dist/deora-onefile alone, a single file to try DEORA with.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from bundle_archives import Member, folder_members, write_deb, write_tar
from bundle_debian import ARCHITECTURES, control, documents, scripts
from deora import __version__

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
# What install-service.sh takes from beside itself.
BESIDE = ("deora-backend.service", "deora-backend.socket", "deora.sh", "deora.sysusers", "logger.json")
PROGRAM = "/opt/deora/deora"
PACKAGED_PROGRAM = "/usr/lib/deora/deora"


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


def build(*, one_file: bool) -> Path:
    """Runs PyInstaller; the program that it made."""
    command = [sys.executable, "-m", "PyInstaller", "--noconfirm", "--log-level", "WARN"]
    command += ["--distpath", str(DIST), "--workpath", str(ROOT / "build" / "pyinstaller")]
    environment = {**os.environ, "DEORA_BUNDLE": "onefile" if one_file else "folder"}
    done = subprocess.run([*command, str(ROOT / "packaging" / "deora.spec")], cwd=ROOT, env=environment, check=False)
    program = DIST / ("deora-onefile" if one_file else "deora/deora")
    if done.returncode != 0 or not program.is_file():
        raise BundleError("PyInstaller failed; what it said stands above")
    return program


def archive_members(top: str) -> Iterator[Member]:
    """What the tar.gz holds: as a checkout has it, but for the program in the place of its source."""
    yield from folder_members(DIST / "deora", f"{top}/deora")
    yield Member.of_file(ROOT / "install-service.sh", f"{top}/install-service.sh", 0o755)
    for name in BESIDE:
        yield Member.of_file(ROOT / "packaging" / name, f"{top}/packaging/{name}", 0o644)
    for name in ("docs/installation.md", "LICENSE"):
        yield Member.of_file(ROOT / name, f"{top}/{name}", 0o644)


def package_members(moment_s: int) -> Iterator[Member]:
    """What the Debian package puts into the file system."""
    yield from folder_members(DIST / "deora", "usr/lib/deora")
    for name, target, mode in (
        ("deora-backend.service", "usr/lib/systemd/system/deora-backend.service", 0o644),
        ("deora-backend.socket", "usr/lib/systemd/system/deora-backend.socket", 0o644),
        ("deora.sh", "usr/bin/deora", 0o755),
    ):
        text = (ROOT / "packaging" / name).read_text(encoding="utf-8").replace(PROGRAM, PACKAGED_PROGRAM)
        yield Member(target, mode, text.encode())
    # What makes the user, the folders and the configuration, wherever DEORA is installed from.
    yield Member.of_file(ROOT / "install-service.sh", "usr/share/deora/install-service.sh", 0o755)
    for name in ("deora.sysusers", "logger.json"):
        yield Member.of_file(ROOT / "packaging" / name, f"usr/share/deora/packaging/{name}", 0o644)
    yield Member.of_file(ROOT / "docs" / "installation.md", "usr/share/doc/deora/installation.md", 0o644)
    yield from documents(__version__, (ROOT / "LICENSE").read_text(encoding="utf-8"), moment_s)


def main(arguments: list[str]) -> int:
    """The command line; returns the exit code."""
    one_file = arguments == ["--onefile"]
    if arguments and not one_file:
        print(f"usage: {sys.argv[0]} [--onefile]", file=sys.stderr)
        return 2
    faults = [*missing_tools(), *filter(None, [missing_library(sysconfig.get_config_vars())])]
    if faults:
        print("\n".join(f"bundle: {fault}" for fault in faults), file=sys.stderr)
        return 1
    try:
        made = [build(one_file=one_file)]
    except BundleError as error:
        print(f"bundle: {error}", file=sys.stderr)
        return 1
    if not one_file:
        machine = platform.machine()
        moment_s = int(os.environ.get("SOURCE_DATE_EPOCH") or (ROOT / "deora" / "__init__.py").stat().st_mtime)
        top = f"deora-{__version__}-linux-{machine}"
        made.append(write_tar(DIST / f"{top}.tar.gz", archive_members(top), moment_s))
        architecture = ARCHITECTURES.get(machine, machine)
        members = list(package_members(moment_s))
        package = DIST / f"deora_{__version__}_{architecture}.deb"
        about = control(__version__, architecture, members)
        made.append(write_deb(package, about, scripts(), members, moment_s))
    for path in made:
        size_bytes = sum(each.stat().st_size for each in (path.parent.rglob("*") if path.name == "deora" else [path]))
        print(f"{size_bytes / 1e6:6.1f} MB  {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
