"""Asking a real zygote for children; and a false one for what a real one never does."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgpack
import pytest
import uvloop

from deora.errors import StartError
from deora.supervisor import spawn
from deora.supervisor.spawn import Zygote, zygote_command
from tests.fakes.processes import await_end, await_name, descriptors_of, has_ended, parent_of

pytestmark = pytest.mark.usefixtures("subreaper")

# A supervisor that starts three children, says their ids and its zygote's, and waits to be killed.
SUPERVISOR = """
import asyncio, sys
from deora.supervisor.process import become_subreaper
from deora.supervisor.spawn import Zygote
async def main():
    become_subreaper()
    zygote = await Zygote.start()
    children = await asyncio.gather(*(zygote.spawn(slot) for slot in ("store", "primary", "secondary")))
    print(zygote.pid, *(pid for pid, _ in children), flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""


def with_zygote(talk: Callable[[Zygote], Awaitable[None]]) -> None:
    """Runs `talk` with a zygote, on the loop that the supervisor has."""

    async def main() -> None:
        zygote = await Zygote.start()
        try:
            await talk(zygote)
        finally:
            zygote.close()

    uvloop.run(main())


def test_fifty_children_at_once() -> None:
    async def talk(zygote: Zygote) -> None:
        children = await asyncio.gather(*(zygote.spawn(f"s-{number}") for number in range(50)))
        assert len({pid for pid, _ in children}) == 50
        # Each answer went to who had asked: the name of the process is the slot.
        for number, (pid, _) in enumerate(children):
            await_name(pid, f"deora:s-{number}")
            assert parent_of(pid) == os.getpid()
            assert len([to for to in descriptors_of(pid).values() if to.startswith("socket:")]) == 1
        for pid, end in children[::-1]:
            end.close()
            assert await_end(pid) == 1

    with_zygote(talk)


def test_a_zygote_leads_a_session_of_its_own_and_reads_no_terminal() -> None:
    async def talk(zygote: Zygote) -> None:
        assert os.getsid(zygote.pid) == zygote.pid
        assert descriptors_of(zygote.pid)[0] == os.devnull

    with_zygote(talk)


def test_nothing_is_left_open() -> None:
    async def main() -> None:
        for _ in range(2):
            zygote = await Zygote.start()
            pid, end = await zygote.spawn("primary")
            end.close()
            await_end(pid)
            zygote.close()

    before = descriptors_of(os.getpid()).keys()
    uvloop.run(main())
    assert descriptors_of(os.getpid()).keys() == before


def test_a_zygote_that_was_killed_says_so_to_all_who_wait_and_to_all_who_come() -> None:
    async def talk(zygote: Zygote) -> None:
        pid, end = await zygote.spawn("primary")
        os.kill(zygote.pid, signal.SIGSTOP)
        waiting = [asyncio.ensure_future(zygote.spawn("secondary")) for _ in range(3)]
        await asyncio.sleep(0)
        os.kill(zygote.pid, signal.SIGKILL)
        for each in waiting:
            with pytest.raises(ConnectionError):
                await each
        assert has_ended(zygote.pidfd, 5)
        with pytest.raises(ConnectionError):
            await zygote.spawn("secondary")
        # Its children are not its own and stay.
        assert parent_of(pid) == os.getpid()
        end.close()
        await_end(pid)

    with_zygote(talk)


def test_all_children_and_the_zygote_die_with_a_killed_supervisor(tmp_path: Path) -> None:
    with (
        (tmp_path / "errors").open("wb") as errors,
        subprocess.Popen([sys.executable, "-c", SUPERVISOR], stdout=subprocess.PIPE, stderr=errors) as supervisor,
    ):
        assert supervisor.stdout is not None
        pids = [int(pid) for pid in supervisor.stdout.readline().split()]
        pidfds = [os.pidfd_open(pid) for pid in pids]
        for pid, name in zip(pids, ("zygote", "store", "primary", "secondary"), strict=True):
            await_name(pid, f"deora:{name}")
            # One that hangs does not notice that its socket is closed.
            os.kill(pid, signal.SIGSTOP)
        supervisor.kill()
        supervisor.wait()
        assert all(has_ended(pidfd, 1) for pidfd in pidfds)
        for pidfd in pidfds:
            # They are ours now: who is a subreaper has to reap.
            os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
            os.close(pidfd)


# -- a zygote that does not come up


@pytest.mark.parametrize("command", [["false"], [sys.executable, "-c", "import deora.no_such_module"]])
def test_a_zygote_that_ends_at_once(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spawn, "zygote_command", lambda _: command)
    with pytest.raises(StartError, match="did not come up") as refused:
        asyncio.run(Zygote.start())
    assert refused.value.hint


def test_a_zygote_that_says_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    said = tmp_path / "pid"
    monkeypatch.setattr(spawn, "zygote_command", lambda _: ["sh", "-c", f"echo $$ > {said}; exec sleep 600"])
    monkeypatch.setattr(spawn, "BOOT_S", 0.2)
    with pytest.raises(StartError, match="did not come up"):
        asyncio.run(Zygote.start())
    with pytest.raises(ProcessLookupError):
        os.kill(int(said.read_text()), 0)


def test_a_start_that_is_given_up_leaves_no_zygote(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    said = tmp_path / "pid"
    monkeypatch.setattr(spawn, "zygote_command", lambda _: ["sh", "-c", f"echo $$ > {said}; exec sleep 600"])

    async def main() -> None:
        starting = asyncio.ensure_future(Zygote.start())
        deadline_s = asyncio.get_running_loop().time() + 5
        while not said.exists() or not said.read_text().strip():
            assert asyncio.get_running_loop().time() < deadline_s
            await asyncio.sleep(0)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        with pytest.raises(ProcessLookupError):
            os.kill(int(said.read_text()), 0)

    asyncio.run(main())


def test_a_frozen_program_is_its_own_zygote(monkeypatch: pytest.MonkeyPatch) -> None:
    assert zygote_command(7) == [sys.executable, "-m", "deora", "_zygote", "7"]
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert zygote_command(7) == [sys.executable, "_zygote", "7"]


# -- a false one


def with_false_zygote(talk: Callable[[Zygote, socket.socket], Awaitable[None]]) -> None:
    """Runs `talk` with the supervisor's side of a zygote, and with the zygote's socket."""

    async def main() -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        theirs.settimeout(5)
        with theirs:
            zygote = Zygote(subprocess.Popen(["sleep", "600"]), ours)
            try:
                await talk(zygote, theirs)
            finally:
                zygote.close()

    asyncio.run(main())


def serve(control: socket.socket, pid: int) -> None:
    """Takes one request and answers with a process id."""
    _, descriptors, _, _ = socket.recv_fds(control, 4096, 1)
    os.close(descriptors[0])
    control.send(msgpack.packb([pid]))


def test_answers_go_to_who_asked_also_when_the_zygote_has_too_much_to_do() -> None:
    async def talk(zygote: Zygote, control: socket.socket) -> None:
        asked = [asyncio.ensure_future(zygote.spawn("primary")) for _ in range(100)]
        await asyncio.sleep(0)
        refused = [each for each in asked if each.done()]
        accepted = [each for each in asked if not each.done()]
        assert refused
        assert accepted
        for each in refused:
            assert isinstance(each.exception(), BlockingIOError)
        for number, each in enumerate(accepted):
            serve(control, number)
            pid, end = await each
            end.close()
            assert pid == number
        again = asyncio.ensure_future(zygote.spawn("primary"))
        await asyncio.sleep(0)
        serve(control, 777)
        pid, end = await again
        end.close()
        assert pid == 777

    with_false_zygote(talk)


def test_a_zygote_that_closes_its_socket_is_ended() -> None:
    async def talk(zygote: Zygote, control: socket.socket) -> None:
        asked = asyncio.ensure_future(zygote.spawn("primary"))
        await asyncio.sleep(0)
        control.close()
        with pytest.raises(ConnectionError):
            await asked
        assert has_ended(zygote.pidfd, 5)

    with_false_zygote(talk)


def test_who_gives_up_takes_nobody_elses_answer() -> None:
    async def talk(zygote: Zygote, control: socket.socket) -> None:
        first, second = (asyncio.ensure_future(zygote.spawn("primary")) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        serve(control, 1)
        serve(control, 2)
        pid, end = await second
        end.close()
        assert pid == 2
        assert first.cancelled()

    with_false_zygote(talk)
