"""From a start's options to its exit: what stands before the first child, and what is left behind. The rest is in the
process tests."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deora.config.schema import Config
from deora.errors import StartError
from deora.supervisor import main
from deora.supervisor.listeners import CONTROL_NAME
from deora.supervisor.lock import InstanceLock
from deora.supervisor.main import run
from deora.supervisor.options import StartOptions


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test's process keeps its name, its log handlers and its children."""
    monkeypatch.setattr(main, "configure", lambda *_: None)
    monkeypatch.setattr(main, "name_process", lambda _: None)
    monkeypatch.setattr(main, "become_subreaper", lambda: None)


def options(data: Path, *, host: str | None = None, port: int | None = 0, **config: Any) -> StartOptions:
    return StartOptions(Config.from_wire(config), None, data, host, port, ["--data", str(data)])


def is_free(data: Path) -> bool:
    """Whether nobody holds the data directory."""
    InstanceLock(data, []).release()
    return not (data / CONTROL_NAME).exists()


@pytest.fixture
def broken_zygote(monkeypatch: pytest.MonkeyPatch) -> None:
    async def start() -> None:
        raise StartError("no zygote", hint="install it again")

    monkeypatch.setattr("deora.supervisor.zygotes.Zygote.start", start)


@pytest.mark.usefixtures("broken_zygote")
def test_without_a_zygote_there_is_no_start(tmp_path: Path) -> None:
    # An exit code of 0 would tell systemd that all is well.
    with pytest.raises(StartError, match="no zygote"):
        run(options(tmp_path))
    assert is_free(tmp_path)


def test_a_fault_of_ours_at_the_start_is_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def start() -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr("deora.supervisor.zygotes.Zygote.start", start)
    with pytest.raises(RuntimeError, match="broken"):
        run(options(tmp_path))
    assert is_free(tmp_path)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1"])
def test_beyond_loopback_it_needs_a_token(tmp_path: Path, host: str) -> None:
    for chosen in (options(tmp_path, host=host), options(tmp_path, servers={"host": host})):
        with pytest.raises(StartError, match="token"):
            run(chosen)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_done_here_is_refused_before_anything_is_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(StartError, match="the package redis is not installed"):
        run(options(tmp_path / "data", cache={"redis": {"url": "redis://127.0.0.1:6379/0"}}))
    assert not (tmp_path / "data").exists()


def test_a_second_start_is_refused_and_leaves_the_first_alone(tmp_path: Path) -> None:
    lock = InstanceLock(tmp_path, ["--port", "7"])
    written = (tmp_path / "deora.lock").read_bytes()
    (tmp_path / CONTROL_NAME).touch()
    with pytest.raises(StartError, match="another instance runs"):
        run(options(tmp_path))
    assert (tmp_path / "deora.lock").read_bytes() == written
    assert (tmp_path / CONTROL_NAME).exists()
    lock.release()


@pytest.mark.parametrize("from_config", [False, True])
def test_a_port_in_use_leaves_the_directory_free(tmp_path: Path, from_config: bool) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        chosen = options(tmp_path, port=None, servers={"port": port}) if from_config else options(tmp_path, port=port)
        with pytest.raises(StartError, match=f"cannot listen on 127.0.0.1:{port}"):
            run(chosen)
    assert is_free(tmp_path)


@pytest.mark.usefixtures("broken_zygote")
def test_the_command_line_wins_over_the_configuration(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        # It gets as far as the zygote: the configured port, which is taken, was not tried.
        with pytest.raises(StartError, match="no zygote"):
            run(options(tmp_path, port=0, servers={"port": taken.getsockname()[1]}))


@pytest.mark.usefixtures("broken_zygote")
def test_the_supervisor_imports_neither_the_command_line_nor_any_child() -> None:
    code = "import sys, deora.supervisor.main; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    unwanted = {"click", "rich", "aiosqlite", "deora.worker", "deora.store", "deora.replay", "deora.upstream"}
    assert not unwanted & set(loaded)
