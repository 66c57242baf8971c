"""Upgrades in place, and restarts by socket activation, of real instances under load: nothing fails, nothing is
refused."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from bench.instance import PROJECT, Instance
from bench.processes import free_port
from deora import __version__
from tests.fakes.certificate import write_certificate
from tests.fakes.command import deora
from tests.fakes.killer import children
from tests.fakes.meanwhile import meanwhile
from tests.fakes.subscribers import Subscribers, judge_streams, wait_until
from tests.fakes.tills import Tills, judge

Start = Callable[..., Instance]


@contextmanager
def asking(ask: Callable[[], int], count: int = 2) -> Iterator[list[str]]:
    """Clients that ask for something, which answers with a status, again and again; what went wrong."""
    faults: list[str] = []

    def step() -> None:
        try:
            status = ask()
            if status not in (200, 201):
                faults.append(str(status))
        except (OSError, http.client.HTTPException) as error:
            faults.append(repr(error))

    with meanwhile(step, 0.02, count):
        yield faults


def visitors(one: Instance) -> AbstractContextManager[list[str]]:
    """Two clients that come with a new connection each time."""
    return asking(lambda: one.request("GET", "/health/live", timeout_s=20).status)


def upgrades_under_load(one: Instance, upgrades: int) -> None:
    """200 requests a second, two clients that come anew each time, and 20 streams that are cut by each upgrade and
    follow on."""
    supervisor, before = psutil.Process(one.pid), children(one)
    with Subscribers(one.url) as streams:
        every = streams.open_many(20, followers=20)
        with Tills(one.url, rate=100, reads=1, patience_s=0) as tills, visitors(one) as faults:
            descriptors = []
            for number in range(1, upgrades + 1):
                written = len(tills.writes)
                one.wait_until(lambda: len(tills.writes) > written + 50)  # noqa: B023 - called at once
                done = deora("upgrade", on=one)
                assert (done.returncode, done.stderr) == (0, "")
                assert f", pid {one.pid}\n" in done.stdout
                one.wait_until_whole()
                wait_until(lambda: all(len(each.statuses) > number for each in every), "they are back")  # noqa: B023
                descriptors.append(supervisor.num_fds())
            written = len(tills.writes)
            one.wait_until(lambda: len(tills.writes) > written + 50)
        longest_s = max(timed.took_s for timed in tills.writes)
        assert faults == []
        judge(one, tills)
        judge_streams(every, sorted(sent.commit for sent in tills.history if sent.commit is not None))
        assert {len(each.statuses) for each in every} == {1 + upgrades}
    print(f"{upgrades} upgrades, the longest wait of a write {longest_s:.1f} s; {descriptors} descriptors")
    # The same process, with other children, and as many of them.
    assert one.status()["supervisor"]["pid"] == one.pid
    assert not {*before.values()} & {*children(one).values()}
    assert len(one.tree()) == len(before) + 1
    # Give or take the connections of those who come anew.
    assert max(descriptors) - min(descriptors) <= 4


def test_upgrades_under_load_fail_and_refuse_nothing(instance: Start) -> None:
    upgrades_under_load(instance(), 2)


@pytest.mark.torture
def test_upgrades_under_load_for_long(instance: Start) -> None:
    upgrades_under_load(instance(), 20)


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


def assert_not_begun(one: Instance, *said: str) -> None:
    """Neither the command nor the signal changes anything, and the command says why."""
    before = children(one)
    done = deora("upgrade", on=one)
    assert done.returncode == 1
    for part in (*said, "nothing was changed"):
        assert part in done.stderr
    os.kill(one.pid, signal.SIGUSR2)
    one.wait_until(lambda: one.printed().count("not upgraded") == 2, 20)
    assert children(one) == before
    assert one.request("PUT", "/v1/documents/a/b", json={}).status in (200, 201)


def test_tls_goes_on_and_a_new_certificate_is_taken(instance: Start, tmp_path: Path) -> None:
    one = instance(servers={"drain_timeout_s": 60})
    port = urlsplit(one.url).port or 0
    new, key = write_certificate(tmp_path / "new", "new.example")
    cert, _ = write_certificate(tmp_path / "served")
    security = {"tls": {"cert": str(cert), "key": str(tmp_path / "served" / "key.pem")}}
    (one.directory / "config" / "security.json").write_text(json.dumps(security))
    assert deora("reload", on=one).returncode == 0
    context = ssl.create_default_context(cafile=str(new))
    context.load_verify_locations(cert)
    took_s: list[float] = []
    till, stream = (http.client.HTTPSConnection("127.0.0.1", port, timeout=30, context=context) for _ in range(2))

    def visit() -> int:
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=30, context=context)
        with closing(connection):
            connection.request("GET", "/health/live")
            return connection.getresponse().status

    def write() -> int:
        """On one connection, as long as it lasts."""
        till.request("PUT", "/v1/documents/a/b", b"{}", {"Content-Type": "application/json"})
        answer = till.getresponse()
        answer.read()
        return answer.status

    def upgrade() -> str:
        """Takes less than the time-out although a stream is open; what is served then."""
        stream.request("GET", "/v1/changes")
        events = stream.getresponse()
        began_s = time.monotonic()
        done = deora("upgrade", on=one)
        assert (done.returncode, done.stderr) == (0, "")
        took_s.append(time.monotonic() - began_s)
        assert took_s[-1] < 40
        # It ends as it should, so that its client connects again.
        assert events.read().startswith(b"retry: ")
        stream.close()
        return ssl.get_server_certificate(("127.0.0.1", port), timeout=30)

    with asking(visit, 6) as faults, asking(write, 1) as faults_of_writes:
        first = cert.read_text()
        assert upgrade() == first
        cert.write_bytes(new.read_bytes())
        (tmp_path / "served" / "key.pem").write_bytes(key.read_bytes())
        assert upgrade() == new.read_text() != first
    print(f"upgrades in {took_s}")
    assert faults == faults_of_writes == []
    till.close()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [("servers", {"prot": 1}, "prot"), ("security", {"tls": {"cert": "no.pem", "key": "no.pem"}}, "no.pem")],
)
def test_a_configuration_or_a_certificate_with_which_it_would_not_start(
    instance: Start, name: str, content: object, said: str
) -> None:
    one = instance()
    (one.directory / "config" / f"{name}.json").write_text(json.dumps(content))
    assert_not_begun(one, said)


def test_a_version_that_does_not_know_the_schema_is_not_begun_and_one_that_does_is(instance: Start) -> None:
    one = instance()
    # What is installed from now on: a package in the directory in which the instance runs comes first.
    package = one.directory / "deora"
    shutil.copytree(PROJECT / "deora", package, ignore=shutil.ignore_patterns("__pycache__"))
    code = (package / "__init__.py").read_text()
    (package / "__init__.py").write_text(code.replace(__version__, "99.0"))
    *_, newest = sorted((package / "store" / "migrations").glob("*.sql"))
    content = newest.read_bytes()
    newest.unlink()
    schema = int(newest.name.partition("_")[0])
    assert_not_begun(one, f"has schema {schema}", f"knows schemas up to {schema - 1}")
    newest.write_bytes(content)
    done = deora("upgrade", on=one)
    assert (done.returncode, done.stderr) == (0, "")
    assert "DEORA 99.0" in done.stdout
    one.wait_until_whole()
    assert one.status()["version"] == "99.0"
    assert one.request("GET", "/v1/documents/a/b").status == 200


def test_no_second_starter_ever_wins(instance: Start) -> None:
    one = instance()
    pids = []
    upgrading = threading.Thread(target=lambda: pids.append(deora("upgrade", on=one).returncode))
    upgrading.start()
    tries = 0
    while upgrading.is_alive():
        second = deora("start", "--port", str(free_port()), on=one)
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
        done = deora("upgrade", "--json", on=one)
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
