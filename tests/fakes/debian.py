"""A clean Debian system with systemd as its first process: debootstrap makes it, systemd-nspawn runs it.

It has a network with nothing but loopback, control groups of its own, and is gone without a trace afterwards.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

import psutil

from bench.processes import DAEMON_FOLDERS

PACKAGES: Final = "systemd,systemd-sysv,dbus,curl,iproute2,procps"
TOOLS: Final = {"debootstrap": "debootstrap", "systemd-nspawn": "systemd-container"}
# A debootstrapped folder with these packages; the tests copy it, so that they need no mirror.
ROOT_VARIABLE: Final = "DEBIAN_ROOT"
GROUPS: Final = Path("/sys/fs/cgroup")
PATH: Final = os.pathsep.join([os.environ.get("PATH", os.defpath), *DAEMON_FOLDERS])
SHELL: Final = (
    "env",
    "-i",
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME=/",
    "bash",
    "-euc",
)
BOOT_S: Final = 120.0


def lacking() -> str | None:
    """What this machine lacks for it; None where it has all."""
    if os.geteuid() != 0:
        return "a container is started by root"
    for tool, package in TOOLS.items():
        if shutil.which(tool, path=PATH) is None:
            return f"{tool} is not installed (Debian: apt-get install {package})"
    return None


def make_root(folder: Path) -> str | None:
    """Makes a Debian 12 below `folder`. Why that is not possible, else None."""
    ready = os.environ.get(ROOT_VARIABLE)
    if ready is not None:
        subprocess.run(["cp", "-a", ready, folder], check=True)
        return None
    command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(folder)]
    done = subprocess.run(command, env={**os.environ, "PATH": PATH}, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return None
    last = (done.stdout + done.stderr).strip().splitlines()[-1:]
    return f"debootstrap cannot fetch Debian: {' '.join(last)} ({ROOT_VARIABLE} may name a folder that it has made)"


class Debian:
    """A running system with this root folder, until its `with` block ends."""

    def __init__(self, root: Path, log: Path) -> None:
        self.root = root
        self.log = log
        name = f"deora-test-{os.getpid()}-{time.monotonic_ns()}"
        self._groups = [base / name for base in _hierarchies()]
        for group in self._groups:
            group.mkdir()
        join = "".join(f"echo $$ >{group}/cgroup.procs; " for group in self._groups)
        container = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--private-network", "--boot"]
        with log.open("wb") as output:
            self._nspawn = subprocess.Popen(
                ["sh", "-c", f'{join} exec "$@"', "sh", *container, f"--directory={root}"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, "PATH": PATH},
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        try:
            self._boot()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(IndexError, psutil.NoSuchProcess, ProcessLookupError):
            # The signal that asks systemd, as an init, for a power-off (systemd(1)).
            os.kill(self._leader(), signal.SIGRTMIN + 4)
        try:
            self._nspawn.wait(30)
        except subprocess.TimeoutExpired:
            self._nspawn.kill()
            self._nspawn.wait()
        for group in self._groups:
            _remove(group)

    def run(self, script: str, *, check: bool = True, timeout_s: float = 300.0) -> str:
        """What a bash script prints inside, on both streams; it has to succeed unless `check` is off."""
        command = ["nsenter", f"--target={self._leader()}", "--all", "--wd", *SHELL, script]
        ended = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout_s, check=False
        )
        assert ended.returncode == 0 or not check, f"{script}\nended with {ended.returncode}:\n{ended.stdout}"
        return ended.stdout

    def _leader(self) -> int:
        return psutil.Process(self._nspawn.pid).children()[0].pid

    def _boot(self) -> None:
        deadline_s = time.monotonic() + BOOT_S
        while True:
            with suppress(IndexError, psutil.NoSuchProcess):
                if self.run("systemctl is-system-running", check=False).strip() in ("running", "degraded"):
                    return
            hopeless = self._nspawn.poll() is not None or time.monotonic() > deadline_s
            assert not hopeless, f"it does not boot:\n{self.log.read_text()[-4000:]}"
            time.sleep(0.1)


def _hierarchies() -> list[Path]:
    """Where control groups are made: the one hierarchy of version 2, or systemd's own beside those of version 1."""
    return [base for base in (GROUPS, GROUPS / "systemd", GROUPS / "unified") if (base / "cgroup.procs").is_file()]


def _remove(group: Path) -> None:
    deadline_s = time.monotonic() + 10
    for folder, _, _ in os.walk(group, topdown=False):
        while True:
            try:
                os.rmdir(folder)
                break
            except OSError:
                # The kernel lets go of it once its last process has been reaped.
                if time.monotonic() > deadline_s:
                    raise
                time.sleep(0.05)
