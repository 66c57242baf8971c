"""The zygote as a process, spoken to over its socket."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgpack
import pytest

from deora.config.schema import Config
from deora.supervisor.zygote import MAINS
from deora.wire.frames import Kind, encode, pack, unpack
from deora.wire.link import BlockingLink
from tests.fakes.processes import await_end, await_name, descriptors_of, name_of, parent_of

pytestmark = pytest.mark.usefixtures("subreaper")


class Spawner:
    """A zygote, and this process in the place of its supervisor."""

    def __init__(self, errors: Path) -> None:
        self.errors = errors
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control.settimeout(20)
        with errors.open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "deora", "_zygote", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stderr=stderr,
            )
        theirs.close()
        assert msgpack.unpackb(self.control.recv(4096)) == [self.process.pid]

    def spawn(self, slot: str) -> tuple[int, socket.socket]:
        """A child and our end of its socket."""
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self.control, [msgpack.packb([slot])], [theirs.fileno()])
        [pid] = msgpack.unpackb(self.control.recv(4096))
        ours.settimeout(20)
        return pid, ours

    def close(self) -> None:
        self.control.close()
        try:
            self.process.wait(5)
        finally:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def zygote(tmp_path: Path) -> Iterator[Spawner]:
    spawner = Spawner(tmp_path / "errors")
    yield spawner
    spawner.close()


def test_it_ends_with_its_supervisors_socket(zygote: Spawner) -> None:
    zygote.control.close()
    assert zygote.process.wait(5) == 0
    assert zygote.errors.read_text() == ""


def test_a_supervisor_that_goes_away_during_the_start_is_no_fault() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, "-m", "deora", "_zygote", str(theirs.fileno())]
    with subprocess.Popen(command, pass_fds=[theirs.fileno()], stderr=subprocess.PIPE) as process:
        theirs.close()
        ours.close()
        _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (0, b"")


def test_it_imports_what_children_need_and_no_screens() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.close()
    command = [sys.executable, "-X", "importtime", "-m", "deora", "_zygote", str(theirs.fileno())]
    with theirs:
        ended = subprocess.run(command, pass_fds=[theirs.fileno()], capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip() for line in ended.stderr.splitlines()}
    assert {"deora.worker.main", "deora.store.main", "deora.replay.main"} <= imported
    assert not imported & {"click", "rich", "deora.cli.main"}


def test_it_is_single_threaded_and_owns_nothing_but_its_socket(zygote: Spawner) -> None:
    pid = zygote.process.pid
    assert name_of(pid) == "deora:zygote"
    assert len(list(Path(f"/proc/{pid}/task").iterdir())) == 1
    beside_the_standard_ones = {number: to for number, to in descriptors_of(pid).items() if number > 2}
    assert [to.split(":")[0] for to in beside_the_standard_ones.values()] == ["socket"]


def test_a_child_is_the_supervisors_and_has_its_own_socket_alone(zygote: Spawner) -> None:
    first, first_end = zygote.spawn("primary")
    second, second_end = zygote.spawn("secondary-12")
    for pid, name in ((first, "deora:primary"), (second, "deora:secondary-12")):
        await_name(pid, name)
        assert parent_of(pid) == os.getpid()
        sockets = [to for number, to in descriptors_of(pid).items() if number > 2]
        assert len(sockets) == 1
        assert sockets[0].startswith("socket:")
    # The end of one is not the end of the other.
    first_end.close()
    assert await_end(first) == 1
    second_end.sendall(b"")
    assert parent_of(second) == os.getpid()
    second_end.close()
    assert await_end(second) == 1


def test_the_zygote_has_no_zombies(zygote: Spawner) -> None:
    ends = [zygote.spawn("primary") for _ in range(5)]
    children = Path(f"/proc/{zygote.process.pid}/task/{zygote.process.pid}/children").read_text().split()
    assert children == []
    for pid, end in ends:
        end.close()
        await_end(pid)


def test_a_child_becomes_what_its_first_frame_says(zygote: Spawner, tmp_path: Path) -> None:
    pid, end = zygote.spawn("store")
    config = Config.from_wire({"logger": {"outputs": []}}).to_wire()
    init = {"role": "store", "slot": "store", "name": "store", "generation": 3, "config": config, "data": str(tmp_path)}
    end.sendall(encode(Kind.INIT, 0, pack(init)))
    hello = BlockingLink(end).receive_one()
    assert hello is not None
    assert (hello[0], hello[3]) == (Kind.HELLO, 3)
    assert unpack(hello[5])["node"]
    assert name_of(pid) == "deora:store"
    end.sendall(encode(Kind.STOP, 0))
    assert await_end(pid) == 0
    end.close()
    assert (tmp_path / "store.db").exists()


def test_every_role_has_a_main() -> None:
    assert set(MAINS) == {"worker", "store", "replayer", "backup"}


def test_a_role_that_nobody_knows_is_a_fault_that_is_told_of(zygote: Spawner) -> None:
    pid, end = zygote.spawn("primary")
    end.sendall(encode(Kind.INIT, 0, pack({"role": "barista"})))
    assert await_end(pid) == 1
    end.close()
    assert "KeyError: 'barista'" in zygote.errors.read_text()


@pytest.mark.parametrize("frame", [encode(Kind.STOP, 0), b"\0" * 40])
def test_a_child_whose_first_frame_is_no_init_ends(zygote: Spawner, frame: bytes) -> None:
    pid, end = zygote.spawn("primary")
    end.sendall(frame)
    assert await_end(pid) == 1
    end.close()


def test_ctrl_c_is_the_supervisors_to_act_on_and_sigterm_ends_a_child(zygote: Spawner) -> None:
    pid, end = zygote.spawn("primary")
    os.kill(zygote.process.pid, signal.SIGINT)
    os.kill(pid, signal.SIGINT)
    other, other_end = zygote.spawn("secondary")
    os.kill(pid, signal.SIGTERM)
    assert await_end(pid) == -signal.SIGTERM
    other_end.close()
    assert await_end(other) == 1
    end.close()


def test_its_children_outlive_it(zygote: Spawner) -> None:
    pid, end = zygote.spawn("primary")
    zygote.process.kill()
    zygote.process.wait()
    assert parent_of(pid) == os.getpid()
    end.close()
    assert await_end(pid) == 1
