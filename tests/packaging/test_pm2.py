"""DEORA under a real PM2, which npm brings: started, killed, ended, with the ecosystem file of packaging/."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from bench.instance import ENVIRONMENT, PROJECT
from bench.peers.managers import install_pm2
from bench.processes import NotMeasuredError, answers, lasting_port
from tests.fakes.subscribers import wait_until

FILE = PROJECT / "packaging" / "pm2" / "ecosystem.config.js"
NEEDS_NODE = pytest.mark.skipif(
    shutil.which("node") is None, reason="NOT READ BY NODE: it is not installed (Debian: apt-get install nodejs npm)"
)


@NEEDS_NODE
def test_the_file_says_one_supervisor_in_fork_mode() -> None:
    said = subprocess.run(
        ["node", "--print", f"JSON.stringify(require({json.dumps(str(FILE))}))"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={"PATH": os.environ["PATH"]},
    )
    [app] = json.loads(said.stdout)["apps"]
    assert (app["exec_mode"], app["instances"], app["interpreter"], app["args"]) == ("fork", 1, "none", ["start"])
    # The supervisor alone gets the signal, and has the time that DEORA takes at most.
    assert app["treekill"] is False
    assert app["kill_timeout"] > 10_000
    assert app["env"] == {"DEORA_CONFIG": "/etc/deora", "DEORA_DATA": "/var/lib/deora"}


class Pm2:
    """PM2 in a folder of its own; its daemon is ended by its id."""

    def __init__(self, folder: Path, program: Path) -> None:
        self._folder = folder
        self._program = program
        self.port = lasting_port()
        config = folder / "config"
        config.mkdir()
        (config / "servers.json").write_text(json.dumps({"port": self.port}), encoding="utf-8")
        deora = folder / "deora"
        deora.write_text(f'#!/bin/sh\nexec {sys.executable} -m deora "$@"\n', encoding="utf-8")
        deora.chmod(0o755)
        kept = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
        self._environment = {
            **kept,
            "PM2_HOME": str(folder / "home"),
            "PYTHONPATH": str(PROJECT),
            "DEORA_PROGRAM": str(deora),
            "PM2_DISABLE_VERSION_CHECK": "true",
            "DEORA_FOLDER": str(folder),
            "DEORA_CONFIG": str(config),
            "DEORA_DATA": str(folder / "data"),
        }

    def run(self, *arguments: str) -> str:
        """What a command of PM2 prints."""
        # A file, not a pipe: the daemon inherits what it is given, and would keep a pipe open.
        printed = self._folder / "printed"
        with printed.open("wb") as output:
            subprocess.run(
                [self._program, "--no-color", *arguments],
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=120,
                env=self._environment,
                cwd=self._folder,
            )
        return printed.read_text(encoding="utf-8")

    def app(self) -> Any:
        """The one app of `pm2 jlist`."""
        text = self.run("jlist")
        [app] = json.loads(text[text.index("[{") :])
        return app

    def is_ready(self) -> bool:
        """Whether DEORA serves."""
        return answers(f"http://127.0.0.1:{self.port}/health/ready")

    def end(self) -> None:
        """Ends the daemon and what it has started."""
        with suppress(FileNotFoundError, psutil.NoSuchProcess):
            daemon = psutil.Process(int((self._folder / "home" / "pm2.pid").read_text()))
            tree = [*daemon.children(recursive=True), daemon]
            daemon.terminate()
            psutil.wait_procs(tree, timeout=15)
            for process in tree:
                with suppress(psutil.NoSuchProcess):
                    process.kill()


@pytest.fixture
def pm2(tmp_path: Path) -> Iterator[Pm2]:
    """PM2 from npm, installed for this test alone."""
    try:
        program = install_pm2(tmp_path)
    except NotMeasuredError as missing:
        pytest.skip(f"NOT TESTED UNDER PM2: {missing}")
    one = Pm2(tmp_path, program)
    try:
        yield one
    finally:
        one.end()


@pytest.mark.torture
def test_pm2_keeps_deora_alive_and_ends_it_in_order(pm2: Pm2) -> None:
    pm2.run("start", str(FILE))
    wait_until(pm2.is_ready, "DEORA serves", 60)
    first = pm2.app()
    assert (first["pm2_env"]["status"], first["pm2_env"]["exec_mode"]) == ("online", "fork_mode")
    children = psutil.Process(first["pid"]).children(recursive=True)
    assert len(children) >= 5
    os.kill(first["pid"], signal.SIGKILL)
    wait_until(lambda: pm2.app()["pid"] not in (0, first["pid"]) and pm2.is_ready(), "DEORA serves again", 60)
    assert not any(child.is_running() for child in children)
    second = pm2.app()
    assert second["pm2_env"]["restart_time"] == 1
    children = psutil.Process(second["pid"]).children(recursive=True)
    pm2.run("stop", "deora")
    stopped = pm2.app()
    assert (stopped["pm2_env"]["status"], stopped["pm2_env"]["exit_code"]) == ("stopped", 0)
    assert not any(child.is_running() for child in children)
    assert '"message": "stopped"' in Path(stopped["pm2_env"]["pm_err_log_path"]).read_text(encoding="utf-8")
