"""`deora start`, `stop` and `restart`."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import Result

from deora import __version__
from deora.cli import launch
from deora.cli.lifecycle import arguments, merge
from deora.errors import StartError
from deora.supervisor.options import StartOptions
from tests.fakes.control import control_server

Deora = Callable[..., Result]
ROOT = Path(__file__).parents[3]
# A detached start leaves its process behind on purpose.
pytestmark = pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")


class _Supervisor(ModuleType):
    """Stands in for the supervisor: `options` is what it was run with, `outcome` what it returns or raises."""

    options: StartOptions | None = None
    outcome: int | Exception = 0

    def run(self, options: StartOptions) -> int:
        self.options = options
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> _Supervisor:
    """The stand-in, in the place of the module."""
    module = _Supervisor("deora.supervisor.main")
    monkeypatch.setitem(sys.modules, "deora.supervisor.main", module)
    return module


@pytest.fixture
def detached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is started detached is the stand-in of an instance; what still runs at the end is killed."""
    monkeypatch.setattr(launch, "program", lambda: [sys.executable, "-m", "tests.fakes.instance"])
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    yield
    for lock in tmp_path.rglob("deora.lock"):
        pid = json.loads(lock.read_text())["pid"]
        # Only its parent, this process, can reap it: until then its number is nobody else's.
        if pid != os.getpid() and (Path("/proc") / str(pid)).exists():
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _lock(data: Path) -> dict[str, object]:
    record: dict[str, object] = json.loads((data / "deora.lock").read_text())
    return record


def test_start_runs_the_supervisor_in_the_foreground(deora: Deora, supervisor: _Supervisor, tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config/servers.json").write_text('{"port": 3100}')
    (tmp_path / ".env").write_text("DEORA_SERVERS__HOST=::1\n")
    result = deora("start", "--data", "d", "--host", "localhost", "--port", "8080", env={"LOG_LEVEL": "debug"})
    assert (result.exit_code, result.output) == (0, "")
    options = supervisor.options
    assert options is not None
    assert (options.config.servers.port, options.config.servers.host) == (3100, "::1")
    assert options.config.logger.level == "debug"
    assert (options.host, options.port) == ("localhost", 8080)
    assert (options.config_dir, options.data) == (tmp_path / "config", tmp_path / "d")
    assert options.argv == [
        *("--config", str(tmp_path / "config"), "--data", str(tmp_path / "d")),
        *("--host", "localhost", "--port", "8080"),
    ]


def test_start_without_a_configuration(deora: Deora, supervisor: _Supervisor, tmp_path: Path) -> None:
    assert deora("start").exit_code == 0
    options = supervisor.options
    assert options is not None
    assert (options.config_dir, options.host, options.port) == (None, None, None)
    assert options.argv == ["--data", str(tmp_path / "data")]


def test_start_ends_as_the_supervisor_does(deora: Deora, supervisor: _Supervisor) -> None:
    supervisor.outcome = 1
    assert deora("start").exit_code == 1
    supervisor.outcome = StartError("port 3000 is in use", hint="choose another with --port")
    result = deora("start")
    assert (result.exit_code, result.stderr) == (1, "error: port 3000 is in use\nhint: choose another with --port\n")


@pytest.mark.parametrize("more", [[], ["--detach"]])
def test_start_with_a_wrong_configuration(
    deora: Deora, supervisor: _Supervisor, tmp_path: Path, more: list[str]
) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config/servers.json").write_text('{"prot": 3100, "host": 5}')
    result = deora("start", *more)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: the configuration is wrong:\n")
    assert "prot" in result.stderr
    assert "servers.host" in result.stderr
    assert supervisor.options is None
    assert not (tmp_path / "data").exists()


def test_a_check_only_says_whether_it_would_start(deora: Deora, tmp_path: Path) -> None:
    result = deora("start", "--check", "--data", "d")
    assert (result.exit_code, result.stdout) == (0, f"would start: DEORA {__version__}\n")
    assert not (tmp_path / "d").exists()
    (tmp_path / "d").mkdir()
    with closing(sqlite3.connect(tmp_path / "d" / "store.db")) as db:
        db.execute("PRAGMA user_version = 999")
    result = deora("start", "--check", "--data", "d")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "the store's file has schema 999" in result.stderr
    assert [file.name for file in (tmp_path / "d").iterdir()] == ["store.db"]


@pytest.mark.parametrize("port", ["-1", "65536", "http"])
def test_start_with_a_port_that_is_none(deora: Deora, supervisor: _Supervisor, port: str) -> None:
    assert deora("start", "--port", port).exit_code == 2
    assert supervisor.options is None


@pytest.mark.usefixtures("detached")
def test_start_detached_returns_once_it_serves(deora: Deora, tmp_path: Path) -> None:
    result = deora("start", "--detach", "--port", "8080")
    lock = _lock(tmp_path / "data")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"started, pid {lock['pid']}, http://127.0.0.1:8080\n"
    assert lock["argv"] == ["--data", str(tmp_path / "data"), "--port", "8080"]


@pytest.mark.usefixtures("detached")
def test_start_detached_prints_why_it_failed(deora: Deora) -> None:
    result = deora("start", "--detach", env={"FAKE": "refuse"})
    assert (result.exit_code, result.stdout) == (1, "")
    first, second, _ = result.stderr.splitlines()
    assert first == "error: port 3000 is in use"
    assert second == "error: the instance ended before it was ready (exit code 1)"


def test_start_detached_refuses_a_second(deora: Deora, tmp_path: Path) -> None:
    with control_server(tmp_path / "data", {}):
        result = deora("start", "--detach")
    assert result.exit_code == 1
    assert f"already, as pid {os.getpid()}" in result.stderr


@pytest.mark.usefixtures("detached")
def test_stop(deora: Deora, tmp_path: Path) -> None:
    deora("start", "--detach")
    pid = _lock(tmp_path / "data")["pid"]
    result = deora("stop")
    assert (result.exit_code, result.stdout) == (0, f"stopped, pid {pid}\n")
    result = deora("stop")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "no instance runs on" in result.stderr


@pytest.mark.usefixtures("detached")
@pytest.mark.parametrize("verb", ["stop", "restart"])
def test_what_systemd_runs_is_left_to_it(deora: Deora, tmp_path: Path, verb: str) -> None:
    deora("start", "--detach", env={"FAKE": "systemd"})
    result = deora(verb)
    assert result.exit_code == 1
    assert f"systemctl {verb} deora-backend" in result.stderr
    assert (Path("/proc") / str(_lock(tmp_path / "data")["pid"])).exists()


@pytest.mark.usefixtures("detached")
def test_restart_starts_with_what_it_was_started_with(
    deora: Deora, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").mkdir()
    deora("start", "--detach", "--host", "localhost", "--port", "8080")
    before = _lock(tmp_path / "data")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    result = deora("restart", "--data", "../data", "--port", "9090")
    after = _lock(tmp_path / "data")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == (f"stopped, pid {before['pid']}\nstarted, pid {after['pid']}, http://localhost:9090\n")
    assert after["argv"] == [
        *("--config", str(tmp_path / "config"), "--data", str(elsewhere / "../data")),
        *("--host", "localhost", "--port", "9090"),
    ]
    assert os.readlink(f"/proc/{after['pid']}/cwd") == str(tmp_path)


@pytest.mark.usefixtures("detached")
def test_restart_where_none_runs_starts_one(deora: Deora, tmp_path: Path) -> None:
    result = deora("restart", "--port", "8080")
    assert result.exit_code == 0
    first, second = result.stdout.splitlines()
    assert first == f"no instance ran on {tmp_path / 'data'}; starting one"
    assert second.endswith("http://127.0.0.1:8080")


@pytest.mark.usefixtures("detached")
def test_restart_with_a_configuration_that_became_wrong_ends_nothing(deora: Deora, tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    deora("start", "--detach")
    (tmp_path / "config/servers.json").write_text("{")
    result = deora("restart")
    assert result.exit_code == 1
    assert "servers.json" in result.stderr
    assert deora("stop").exit_code == 0


@pytest.mark.usefixtures("detached")
def test_restart_of_what_left_no_record_ends_nothing(deora: Deora, tmp_path: Path) -> None:
    deora("start", "--detach")
    lock = _lock(tmp_path / "data")
    (tmp_path / "data/deora.lock").write_text(json.dumps({**lock, "pid": 1}))
    result = deora("restart")
    (tmp_path / "data/deora.lock").write_text(json.dumps(lock))
    assert result.exit_code == 1
    assert f"does not say how pid {lock['pid']} was started" in result.stderr
    assert deora("stop").exit_code == 0


def test_arguments_mean_the_same_from_anywhere(tmp_path: Path) -> None:
    assert arguments(Path("c"), Path("d"), "h", 0) == [
        *("--config", str(tmp_path / "c"), "--data", str(tmp_path / "d"), "--host", "h", "--port", "0"),
    ]
    assert arguments(None, Path("/d"), None, None) == ["--data", "/d"]


def test_merge_takes_only_what_was_named() -> None:
    recorded = ["--data", "/d", "--port", "1"]
    given = ["--config", "/c", "--data", "/other", "--host", "h", "--port", "2"]
    assert merge(recorded, given, []) == recorded
    assert merge(recorded, given, ["port", "host"]) == ["--data", "/d", "--port", "2", "--host", "h"]
