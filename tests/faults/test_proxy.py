"""The network of fault tests does what it says, and all is as before once it is mended."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.fakes.link import link
from tests.fakes.proxy import LostAnswers, Proxy


class Echo:
    """A server that sends back what it gets, and remembers it."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.heard = b""
        self.connections: list[socket.socket] = []
        self.threads = [threading.Thread(target=self._accept)]
        self.threads[0].start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.connections.append(connection)
                self.threads.append(threading.Thread(target=self._serve, args=(connection,)))
                self.threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError):
            while data := connection.recv(65536):
                self.heard += data
                connection.sendall(data)

    def close(self) -> None:
        for one in (self.listener, *self.connections):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in self.threads:
            thread.join(5)


@pytest.fixture
def echo() -> Iterator[Echo]:
    made = Echo()
    yield made
    made.close()


def ask(client: socket.socket, data: bytes) -> bytes:
    client.sendall(data)
    answer = b""
    while len(answer) < len(data):
        part = client.recv(65536)
        if not part:
            raise ConnectionResetError
        answer += part
    return answer


def client_of(port: int, host: str = "127.0.0.1", timeout_s: float = 10) -> socket.socket:
    return socket.create_connection((host, port), timeout_s)


def test_what_is_sent_comes_back_and_round_trips_are_counted(echo: Echo) -> None:
    data = bytes(range(256)) * 4000
    with Proxy(echo.port) as proxy, client_of(proxy.port) as client:
        assert [ask(client, part) for part in (b"a", b"b", b"c")] == [b"a", b"b", b"c"]
        assert (proxy.accepted, proxy.requests) == (1, 3)
        assert ask(client, data) == data


def test_a_slow_link(echo: Echo) -> None:
    with Proxy(echo.port) as proxy, client_of(proxy.port) as client:
        proxy.latency_s = 0.1
        began_s = time.monotonic()
        assert ask(client, b"ping") == b"ping"
        assert time.monotonic() - began_s >= 0.2
        proxy.latency_s, proxy.bytes_per_s = 0.0, 10_000
        began_s = time.monotonic()
        assert ask(client, b"x" * 1000) == b"x" * 1000
        assert time.monotonic() - began_s >= 0.2


def test_what_is_swallowed_arrives_late(echo: Echo) -> None:
    with Proxy(echo.port) as proxy, client_of(proxy.port, timeout_s=0.2) as client:
        assert ask(client, b"one") == b"one"
        proxy.swallow()
        with pytest.raises(TimeoutError):
            ask(client, b"two")
        assert echo.heard == b"one"
        proxy.mend()
        client.settimeout(10)
        assert client.recv(3) == b"two"


def test_connections_are_reset_and_refused(echo: Echo) -> None:
    with Proxy(echo.port) as proxy, client_of(proxy.port) as client:
        assert ask(client, b"one") == b"one"
        proxy.reset()
        with pytest.raises(ConnectionError):
            ask(client, b"two")
        proxy.refuse()
        with pytest.raises(ConnectionError), client_of(proxy.port) as another:
            ask(another, b"three")
        proxy.mend()
        with client_of(proxy.port) as third:
            assert ask(third, b"four") == b"four"
    assert echo.heard == b"onefour"


def test_an_answer_is_lost_after_its_request_took_effect(echo: Echo) -> None:
    with Proxy(echo.port) as proxy:
        answers = proxy.answers = LostAnswers(b"commit", 1.0, seed=1)
        with client_of(proxy.port) as client:
            assert ask(client, b"read") == b"read"
            with pytest.raises(ConnectionError):
                ask(client, b"commit")
    assert echo.heard == b"readcommit"
    assert (answers.requests, answers.losses) == (1, 1)


def test_a_server_that_is_gone_is_a_reset() -> None:
    with Proxy(1) as proxy, pytest.raises(ConnectionError), client_of(proxy.port) as client:
        ask(client, b"anybody?")


def test_packets_are_dropped_and_pass_again(echo: Echo) -> None:
    with link(echo.port) as made, client_of(made.port, made.host) as client:
        assert ask(client, b"one") == b"one"
        made.cut()
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            ask(client, b"two")
        with pytest.raises(TimeoutError):
            client_of(made.port, made.host, timeout_s=0.2)
        assert echo.heard == b"one"
        made.mend()
        client.settimeout(30)
        assert client.recv(3) == b"two"
