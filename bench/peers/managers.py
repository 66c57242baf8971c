"""Two process managers with two workers each, set up for graceful reloads as their documentation recommends.

PM2 in cluster mode with `wait_ready`, `kill_timeout` and a SIGINT handler that finishes what is held; gunicorn with
uvicorn's worker and its `graceful-timeout`. What they start ends with its `with` block, PM2's own folder and all.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import psutil

from bench.instance import PROJECT
from bench.peers.servers import require
from bench.processes import BenchError, NotMeasuredError, Process, answers, find_program, free_port

PM2_VERSION: Final = "7"
INSTALL_TIMEOUT_S: Final = 180
COMMAND_TIMEOUT_S: Final = 60
GRACE_S: Final = 10
# Longer than any pause between two requests of the load, for DEORA too.
KEEP_ALIVE_S: Final = 75


class Gunicorn(Process):
    """gunicorn in front of two uvicorn workers."""

    title: Final = "gunicorn, 2 uvicorn workers"

    def __init__(self, directory: Path, body: bytes) -> None:
        require("gunicorn", "uvicorn_worker", "uvicorn", "uvloop", "httptools")
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "gunicorn", "bench.peers.appending:application", "--workers", "2"]
        command += ["--worker-class", "uvicorn_worker.UvicornWorker", "--bind", f"127.0.0.1:{port}"]
        command += ["--graceful-timeout", str(GRACE_S), "--keep-alive", str(KEEP_ALIVE_S)]
        # Its workers show that they are alive by the times of a file; on a busy disk they would be ended for nothing.
        command += ["--worker-tmp-dir", "/dev/shm", "--no-control-socket"]
        environment = {**os.environ, "PYTHONPATH": str(PROJECT), **_files(directory, body)}
        super().__init__("gunicorn", command, directory, environment)

    def wait_until_ready(self) -> None:
        """Return once it answers."""
        self.wait_until(lambda: answers(self.url) and len(self.workers()) == 2)

    def workers(self) -> list[int]:
        """The workers that run now."""
        return [child.pid for child in _children(self.pid)]

    def reload(self) -> None:
        """New workers, then the old ones go."""
        os.kill(self.pid, signal.SIGHUP)

    def restart(self, worker: int) -> None:
        """Ends a worker gracefully; the master starts another."""
        os.kill(worker, signal.SIGTERM)


class Pm2(Process):
    """PM2 with two Node workers, in `directory` alone: nothing is installed for anybody else."""

    title: Final = "PM2, 2 Node workers"

    def __init__(self, directory: Path, body: bytes) -> None:
        self._folder = directory
        self._program = install_pm2(directory)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        application = {
            "name": "bench",
            "script": str(PROJECT / "bench" / "peers" / "appending.js"),
            "exec_mode": "cluster",
            "instances": 2,
            "wait_ready": True,
            "listen_timeout": GRACE_S * 1000,
            "kill_timeout": GRACE_S * 1000,
            "env": {**_files(directory, body), "BENCH_PORT": str(port)},
        }
        (directory / "ecosystem.json").write_text(json.dumps({"apps": [application]}), encoding="utf-8")
        self._environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(directory),
            "PM2_HOME": str(directory / "home"),
            "PM2_DISABLE_VERSION_CHECK": "true",
        }
        runtime = str(self._program.with_name("pm2-runtime"))
        super().__init__("pm2", [runtime, "start", "ecosystem.json"], directory, self._environment)

    def wait_until_ready(self) -> None:
        """Return once it answers."""
        self.wait_until(lambda: answers(self.url) and len(self.workers()) == 2)

    def workers(self) -> list[int]:
        """The workers that run now."""
        return [child.pid for child in _children(self.pid)]

    def reload(self) -> None:
        """Worker by worker, the new one before the old one goes."""
        self._command("reload", "bench")

    def restart(self, worker: int) -> None:
        """Ends a worker gracefully and starts it again."""
        listed = json.loads(self._command("jlist"))
        self._command("restart", str(next(each["pm_id"] for each in listed if each["pid"] == worker)))

    def _command(self, *words: str) -> str:
        done = subprocess.run(
            [str(self._program), *words],
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_TIMEOUT_S,
        )
        if done.returncode != 0:
            raise BenchError(f"pm2 {' '.join(words)} failed: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout


def install_pm2(directory: Path) -> Path:
    """The program `pm2`, installed into `directory`. Raises NotMeasuredError with what is lacking."""
    find_program("node")
    npm = find_program("npm")
    command = [npm, "install", "--prefix", str(directory), "--cache", str(directory / "npm-cache")]
    command += ["--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error", f"pm2@{PM2_VERSION}"]
    try:
        done = subprocess.run(
            command, cwd=directory, capture_output=True, text=True, check=False, timeout=INSTALL_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        raise NotMeasuredError(f"npm did not install pm2 within {INSTALL_TIMEOUT_S} s") from None
    if done.returncode != 0:
        raise NotMeasuredError(f"npm could not install pm2: {done.stderr.strip()[-300:]}")
    return directory / "node_modules" / ".bin" / "pm2"


def _files(directory: Path, body: bytes) -> Mapping[str, str]:
    (directory / "body").write_bytes(body)
    return {"BENCH_BODY": str(directory / "body"), "BENCH_FILE": str(directory / "written")}


def _children(pid: int) -> list[psutil.Process]:
    """The direct children that run; one that has ended and was not waited for is none."""
    found = []
    for child in psutil.Process(pid).children():
        try:
            if child.status() != psutil.STATUS_ZOMBIE:
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found
