"""HTTP on a real instance, byte by byte: what its loop and its sockets make of it, beyond what the unit tests see."""

from __future__ import annotations

import gzip
import json
import socket
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import psutil
import pytest

from bench.instance import Instance

HOST = b"Host: localhost\r\n"
JSON = b"Content-Type: application/json\r\n"
GET = b"GET %b HTTP/1.1\r\n" + HOST + b"\r\n"


def connect(one: Instance) -> socket.socket:
    address = urlsplit(one.url)
    return socket.create_connection((address.hostname or "", address.port or 0), timeout=10)


def receive(sock: socket.socket, answers: int | None = None) -> bytes:
    """What comes until so many answers are there, or until the end of the connection."""
    found = b""
    while answers is None or len(statuses(found)) < answers or not is_whole(found):
        data = sock.recv(1024 * 1024)
        if not data:
            return found
        found += data
    return found


def statuses(received: bytes) -> list[int]:
    return [int(part[:3]) for part in received.split(b"HTTP/1.1 ")[1:]]


def is_whole(received: bytes) -> bool:
    """Whether the last answer is there to its end."""
    head, separator, content = received.rpartition(b"HTTP/1.1 ")[2].partition(b"\r\n\r\n")
    length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
    return bool(separator) and len(content) >= int(length or 0)


def exchange(one: Instance, sent: bytes, answers: int | None = None) -> bytes:
    with connect(one) as sock:
        sock.sendall(sent)
        return receive(sock, answers)


def test_requests_of_every_form(instance: Callable[..., Instance]) -> None:
    one = instance()
    put = b"PUT /v1/documents/a/b HTTP/1.1\r\n" + HOST + JSON
    assert statuses(exchange(one, put + b"Content-Length: 7\r\n\r\n" + b'{"n":1}', 1)) == [201]
    chunked = put + b'Transfer-Encoding: chunked\r\n\r\n3\r\n{"n\r\n4;x=y\r\n":2}\r\n0\r\nPrefer: wait=30\r\n\r\n'
    assert statuses(exchange(one, chunked, 1)) == [200]
    assert exchange(one, GET % b"/v1/documents/a/b", 1).endswith(b'"data":{"n":2}}')
    with connect(one) as sock:
        sock.sendall(put + b"Content-Length: 7\r\nExpect: 100-continue\r\n\r\n")
        assert sock.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(b'{"n":3}')
        assert statuses(receive(sock, 1)) == [200]
    head = exchange(one, b"HEAD /v1/documents/a/b HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
    assert statuses(head) == [200]
    assert head.endswith(b"\r\n\r\n")
    assert statuses(exchange(one, b"GET /v1/documents/a/b HTTP/1.0\r\n\r\n")) == [200]
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
    assert statuses(exchange(one, b"GET /v1/documents/a/b HTTP/1.1\r\n" + HOST + upgrade)) == [200]


def test_a_pipeline_is_answered_in_order_and_its_fault_at_its_place(instance: Callable[..., Instance]) -> None:
    one = instance()
    exchange(one, b"PUT /v1/documents/a/b HTTP/1.1\r\n" + HOST + JSON + b"Content-Length: 2\r\n\r\n{}", 1)
    targets = [b"/v1/documents/a/b", b"/health/live", b"/v1/documents/a/none", b"/nothing", b"/v1/documents/a"]
    received = exchange(one, b"".join(GET % target for target in targets) + b"nonsense\r\n\r\n" + GET % b"/health")
    assert statuses(received) == [200, 200, 404, 404, 200, 400]
    with connect(one) as sock:
        sock.sendall(GET % b"/v1/documents/a/b" + GET % b"/v1/documents/a/none")
        sock.shutdown(socket.SHUT_WR)  # as `nc -N` does
        assert statuses(receive(sock)) == [200, 404]


def test_a_long_pipeline_behind_a_worker_hurts_nobody(instance: Callable[..., Instance]) -> None:
    one = instance()
    pids = [worker["pid"] for worker in one.status()["workers"]]
    count = 3000
    received = exchange(one, GET % b"/v1/documents/a/none" + (GET % b"/health/live") * count, count + 1)
    assert statuses(received) == [404] + [200] * count
    assert [worker["pid"] for worker in one.status()["workers"]] == pids


@pytest.mark.parametrize(
    ("start", "status"),
    [
        (b"PUT /v1/documents/a/b HTTP/1.1\r\n" + HOST + JSON + b"Content-Length: 30000000\r\n\r\n", 413),
        (b"PUT /v1/documents/a/b HTTP/1.1\r\n" + HOST + b"X: ", 431),
        (b"GET /", 414),
        (b"nonsense ", 400),
    ],
)
def test_who_sends_too_much_learns_why(instance: Callable[..., Instance], start: bytes, status: int) -> None:
    one = instance()
    memory = psutil.Process(one.pid).memory_info().rss
    with connect(one) as sock:
        sock.sendall(start)
        for _ in range(400):  # 26 MB, sent whole before the answer is read, as most clients do
            sock.sendall(b"a" * 65536)
        assert statuses(receive(sock)) == [status]
    assert psutil.Process(one.pid).memory_info().rss - memory < 8 * 1024 * 1024
    assert one.request("GET", "/v1/documents/a/b").status == 404


def test_who_reads_nothing_costs_nothing(instance: Callable[..., Instance]) -> None:
    one = instance()
    exchange(one, put_of(500_000), 1)
    memory = psutil.Process(one.pid).memory_info().rss
    with connect(one) as greedy:
        greedy.setblocking(False)
        sent = 0
        deadline_s = time.monotonic() + 1.0
        while sent < 2000 and time.monotonic() < deadline_s:
            try:
                sent += greedy.send(GET % b"/v1/documents/a/b") > 0
            except BlockingIOError:
                time.sleep(0.01)
        assert sent > 500
        # Answers to all of them would be hundreds of megabytes. Others are served meanwhile.
        assert one.request("GET", "/v1/documents/a/b").status == 200
        assert psutil.Process(one.pid).memory_info().rss - memory < 40 * 1024 * 1024
        assert 0 < unsent_bytes(one) < 1024 * 1024


def unsent_bytes(one: Instance) -> int:
    """What the kernel holds for clients that have not read it (proc_net_tcp: local address, remote one, queues)."""
    with open("/proc/net/tcp", encoding="ascii") as table:
        rows = [line.split() for line in table][1:]
    port = f":{urlsplit(one.url).port:04X}"
    return sum(int(row[4].partition(":")[0], 16) for row in rows if row[1].endswith(port) and row[3] == "01")


def put_of(size: int) -> bytes:
    body = json.dumps({"text": "x" * size}).encode()
    head = b"PUT /v1/documents/a/b HTTP/1.1\r\n" + HOST + JSON + b"Content-Length: %d\r\n\r\n" % len(body)
    return head + body


def test_tokens_and_their_scopes(instance: Callable[..., Instance]) -> None:
    # The SHA-256 of "secret".
    secret = "sha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"
    one = instance(security={"tokens": [{"name": "till", "hash": secret, "scope": "write"}]})
    till = {"Authorization": "Bearer secret"}
    assert one.request("GET", "/health").status == 200
    for path in ("/status", "/v1/queue", "/metrics", "/v1/documents/a/b"):
        nobody = one.request("GET", path)
        assert (nobody.status, nobody.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert one.request("GET", path, headers=till).status in (200, 404)
        assert one.request("GET", path, headers={"Authorization": "Bearer wrong"}).status == 401
    assert one.request("PUT", "/v1/documents/a/b", json={}, headers=till).status == 201
    assert one.request("PUT", "/v1/documents/a/c", json={}).status == 401
    for path in ("/v1/queue:pause", "/admin/upstreams/primary:pause"):
        assert one.request("POST", path, headers=till).status == 403


def test_a_large_answer_is_gzipped_for_who_asks(instance: Callable[..., Instance]) -> None:
    one = instance()
    assert one.request("PUT", "/v1/documents/menu/m1", {"text": "soup " * 2000}).status == 201
    plain = one.request("GET", "/v1/documents/menu/m1")
    small = one.request("GET", "/v1/documents/menu/m1", headers={"Accept-Encoding": "gzip"})
    assert (plain.headers["Content-Encoding"], small.headers["Content-Encoding"]) == (None, "gzip")
    assert gzip.decompress(small.content) == plain.content
    assert len(small.content) < 500
    assert plain.headers["Vary"] == small.headers["Vary"] == "Accept-Encoding"
    assert plain.headers["ETag"] == small.headers["ETag"]
