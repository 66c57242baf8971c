"""Upgrades in place, and restarts by socket activation, of real instances under load: nothing fails, nothing is
refused."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from bench.instance import PROJECT, Instance
from bench.processes import free_port
from tests.fakes.killer import children
from tests.fakes.tills import Tills, audit, p99_ms

Start = Callable[..., Instance]


def deora(one: Instance, *words: str) -> subprocess.CompletedProcess[str]:
    """The command line, as an operator uses it beside the instance."""
    command = [sys.executable, "-m", "deora", *words, "--data", str(one.data)]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=60)


@contextmanager
def visitors(one: Instance) -> Iterator[list[str]]:
    """Two clients that come with a new connection each time; what went wrong."""
    faults: list[str] = []
    stop = threading.Event()

    def visit() -> None:
        while not stop.wait(0.02):
            try:
                answer = one.request("GET", "/health/live", timeout_s=20)
                if answer.status != 200:
                    faults.append(str(answer.status))
            except (OSError, http.client.HTTPException) as error:
                faults.append(repr(error))

    threads = [threading.Thread(target=visit) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield faults
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def assert_nothing_failed(one: Instance, tills: Tills) -> None:
    print(f"{len(tills.writes)} writes, p99 {p99_ms(tills.writes):.0f} ms; reads {p99_ms(tills.reads):.0f} ms")
    assert tills.errors == []
    assert tills.stale == []
    one.wait_until_drained()
    findings = audit(one, tills)
    assert not findings, findings


def test_an_upgrade_under_load_fails_and_refuses_nothing(instance: Start) -> None:
    one = instance()
    supervisor, before = psutil.Process(one.pid), children(one)
    with Tills(one.url, rate=100, reads=1, patience_s=0) as tills, visitors(one) as faults:
        time.sleep(0.5)
        descriptors = []
        for _ in range(2):
            done = deora(one, "upgrade")
            assert (done.returncode, done.stderr) == (0, "")
            assert f", pid {one.pid}\n" in done.stdout
            one.wait_until_whole()
            descriptors.append(supervisor.num_fds())
        time.sleep(0.5)
    assert faults == []
    assert_nothing_failed(one, tills)
    # The same process, with other children, and as many of them.
    assert one.status()["supervisor"]["pid"] == one.pid
    assert not {*before.values()} & {*children(one).values()}
    assert len(one.tree()) == len(before) + 1
    # Give or take the connections of those who come anew.
    assert abs(descriptors[1] - descriptors[0]) <= 4


def test_a_kept_connection_is_kept(instance: Start) -> None:
    one = instance()
    address = urlsplit(one.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port or 0, timeout=20)
    connection.request("GET", "/health/live")
    assert connection.getresponse().read()
    kept = connection.sock
    os.kill(one.pid, signal.SIGUSR2)
    # What is sent while the one program ends and the other begins is answered by the latter.
    one.wait_until(lambda: "upgrading to" in one.printed(), 20)
    connection.request("PUT", "/v1/documents/a/b", b"{}", {"Content-Type": "application/json"})
    answer = connection.getresponse()
    assert (answer.status, answer.getheader("Connection")) == (201, None)
    answer.read()
    assert connection.sock is kept
    connection.close()


@pytest.mark.parametrize("fault", ["configuration", "schema"])
def test_one_that_would_not_start_is_not_begun(instance: Start, fault: str) -> None:
    one = instance()
    before = children(one)
    if fault == "configuration":
        (one.directory / "config" / "servers.json").write_text('{"prot": 1}')
        said = "prot"
    else:
        (one.directory / "config" / "security.json").write_text('{"tls": {"cert": "no.pem", "key": "no.pem"}}')
        said = "no.pem"
    done = deora(one, "upgrade")
    assert done.returncode == 1
    assert said in done.stderr
    assert "nothing was changed" in done.stderr
    os.kill(one.pid, signal.SIGUSR2)
    one.wait_until(lambda: one.printed().count("not upgraded") == 2, 20)
    assert children(one) == before
    assert one.request("PUT", "/v1/documents/a/b", json={}).status == 201


def test_no_second_starter_ever_wins(instance: Start) -> None:
    one = instance()
    pids = []
    upgrading = threading.Thread(target=lambda: pids.append(deora(one, "upgrade").returncode))
    upgrading.start()
    tries = 0
    while upgrading.is_alive():
        second = deora(one, "start", "--port", str(free_port()))
        assert second.returncode == 1
        assert f"another instance runs on {one.data} (pid {one.pid})" in second.stderr
        tries += 1
    upgrading.join()
    assert pids == [0]
    assert tries


def test_half_a_request_is_not_waited_for_long(instance: Start) -> None:
    one = instance()
    address = urlsplit(one.url)
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=20) as slow:
        slow.sendall(b"PUT /v1/documents/a/b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n")
        done = deora(one, "upgrade", "--json")
        assert done.returncode == 0
        assert json.loads(done.stdout)["pid"] == one.pid
        assert slow.recv(100) == b""


def test_a_stop_on_the_way_is_a_stop(instance: Start) -> None:
    one = instance()
    os.kill(one.pid, signal.SIGUSR2)
    one.wait_until(lambda: "upgrading to" in one.printed(), 20)
    os.kill(one.pid, signal.SIGTERM)
    one.wait_for_end(15)
    assert one.ended() == 0


def test_a_socket_that_is_kept_refuses_nothing_over_a_restart(tmp_path: Path) -> None:
    """A service manager keeps the listener while one instance ends and the next one starts."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        port = listener.getsockname()[1]
        # What systemd does for a .socket unit: the descriptor is the third, and the process is named.
        shell = f'exec 3<&{listener.fileno()}; LISTEN_FDS=1 LISTEN_PID=$$ exec "$0" -m deora start "$@"'
        arguments = ["--data", str(tmp_path / "data"), "--port", str(free_port())]

        def start() -> subprocess.Popen[bytes]:
            return subprocess.Popen(
                ["bash", "-c", shell, sys.executable, *arguments],
                pass_fds=[listener.fileno()],
                cwd=PROJECT,
                stderr=subprocess.DEVNULL,
            )

        def visit() -> int:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            try:
                connection.request("GET", "/v1/documents/a", headers={"Connection": "close"})
                return connection.getresponse().status
            finally:
                connection.close()

        process = start()
        stop = threading.Event()
        seen: list[int | str] = []

        def keep_visiting() -> None:
            while not stop.is_set():
                try:
                    seen.append(visit())
                except (OSError, http.client.HTTPException) as error:
                    seen.append(repr(error))

        try:
            assert visit() == 200
            visiting = [threading.Thread(target=keep_visiting) for _ in range(4)]
            for thread in visiting:
                thread.start()
            for _ in range(2):
                process.terminate()
                assert process.wait(15) == 0
                process = start()
                assert visit() == 200
            stop.set()
            for thread in visiting:
                thread.join()
            assert set(seen) == {200}
        finally:
            stop.set()
            process.terminate()
            process.wait(15)
