"""The load that counts failed requests, against servers that answer, refuse, and go away."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from bench.failed_requests import failed, row_of
from bench.processes import lasting_port
from bench.steady_load import Sent, SteadyLoad

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
CREATED = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
FAILED = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"


@contextmanager
def serving(talk: Callable[[socket.socket], None]) -> Iterator[str]:
    """The address of a server that talks so on each connection, which it closes then."""
    ended = threading.Event()
    threads: list[threading.Thread] = []

    def converse(sock: socket.socket) -> None:
        with sock:
            sock.settimeout(20)
            talk(sock)

    def accept() -> None:
        while not ended.is_set():
            try:
                sock, _ = listener.accept()
            except TimeoutError:
                continue
            threads.append(threading.Thread(target=converse, args=(sock,)))
            threads[-1].start()

    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        listener.settimeout(0.05)
        acceptor = threading.Thread(target=accept)
        acceptor.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            ended.set()
            acceptor.join()
            for thread in threads:
                thread.join()


def load_on(url: str, count: int = 24, timeout_s: float = 20) -> list[Sent]:
    """The first requests of a load."""
    with SteadyLoad(url, 200, b'{"n":1}', timeout_s) as load:
        load.phase = "this"
        deadline_s = time.monotonic() + 30
        while len(load.sent) < count:
            assert time.monotonic() < deadline_s
            time.sleep(0.01)
    return load.sent


def failures(sent: list[Sent]) -> set[str | None]:
    return {each.failure for each in sent}


def test_all_kinds_of_requests_are_sent_and_answered() -> None:
    kinds: Counter[tuple[bytes, bool]] = Counter()

    def talk(sock: socket.socket) -> None:
        request = sock.recv(65536)
        kinds[request[:3], b"\r\nConnection: close\r\n" in request] += 1
        sock.sendall(CREATED)

    with serving(talk) as url:
        sent = load_on(url)
    assert failures(sent) == {None}
    assert {each.phase for each in sent} <= {"", "this"}
    assert set(kinds) == {(b"GET", True), (b"GET", False), (b"PUT", True), (b"PUT", False)}


def test_a_kept_connection_that_was_closed_in_between_is_no_failure() -> None:
    def talk(sock: socket.socket) -> None:
        # The answer says nothing of the end, which comes in the same packet.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        if sock.recv(65536):
            sock.sendall(OK)

    with serving(talk) as url:
        assert failures(load_on(url, 80)) == {None}


def test_connections_are_kept_and_reused() -> None:
    served: Counter[socket.socket] = Counter()

    def talk(sock: socket.socket) -> None:
        while sock.recv(65536):
            served[sock] += 1
            sock.sendall(OK)

    with serving(talk) as url:
        assert failures(load_on(url, 120)) == {None}
    assert max(served.values()) > 1
    assert min(served.values()) == 1, "half of the requests have a connection of their own"


@pytest.mark.parametrize(
    ("talk", "failure"),
    [
        (lambda sock: sock.sendall(FAILED) if sock.recv(65536) else None, "answered 503"),
        (lambda sock: sock.recv(65536), "closed without an answer"),
        (lambda sock: sock.sendall(OK[:-1]) if sock.recv(65536) else None, "closed without an answer"),
    ],
)
def test_what_is_no_answer_is_a_failure(talk: Callable[[socket.socket], None], failure: str) -> None:
    with serving(talk) as url:
        sent = load_on(url)
    assert failures(sent) == {failure}
    assert failed(sent) == len(sent)


def test_silence_is_a_failure() -> None:
    def talk(sock: socket.socket) -> None:
        while sock.recv(65536):
            pass

    with serving(talk) as url:
        assert failures(load_on(url, timeout_s=0.05)) == {"no answer in 0.05 s"}


def test_nobody_there_is_a_failure() -> None:
    assert failures(load_on(f"http://127.0.0.1:{lasting_port()}")) == {"ConnectionRefusedError"}


def test_the_row_of_a_phase() -> None:
    rounds = [[Sent("p", 0.001, None)] * 9 + [Sent("p", 5.0, "answered 503")], [Sent("p", 0.002, None)] * 10]
    row = row_of("DEORA", "p", rounds)
    assert (row.deora, row.verdict) == ([1, 0], "MISSED")
    assert row.details["longest_ms"] == [5000.0, 2.0]
    assert row_of("another", "p", rounds).verdict == ""
