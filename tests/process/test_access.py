"""The door of a real instance: HTTPS, pages of other origins, rates behind a proxy, connections."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Callable
from urllib.parse import urlsplit

from bench.instance import Instance
from tests.fakes.certificate import write_certificate


def port_of(one: Instance) -> int:
    port = urlsplit(one.url).port
    assert port is not None
    return port


def test_https(instance: Callable[..., Instance]) -> None:
    plain = instance()
    folder = plain.directory.parent / "tls"
    cert, key = write_certificate(folder)
    one = Instance(folder, {"security": {"tls": {"cert": str(cert), "key": str(key)}}})
    with one:
        one.wait_until(lambda: (one.data / "control.sock").exists())
        context = ssl.create_default_context(cafile=str(cert))
        one.wait_until(lambda: "ready on https://127.0.0.1:" in one.printed())
        connection = http.client.HTTPSConnection("127.0.0.1", port_of(one), context=context, timeout=20)
        for number in range(3):
            connection.request("PUT", f"/v1/documents/t/{number}", b"{}", {"Content-Type": "application/json"})
            answer = connection.getresponse()
            assert answer.status == 201
            assert answer.headers["Strict-Transport-Security"]
            answer.read()
        connection.close()
        with socket.create_connection(("127.0.0.1", port_of(one)), timeout=20) as unencrypted:
            unencrypted.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert not unencrypted.recv(100).startswith(b"HTTP/1.1 200")
        assert one.terminate() == 0


def test_a_page_of_another_origin_writes(instance: Callable[..., Instance]) -> None:
    one = instance(security={"cors": {"origins": ["https://venue.example"]}})
    page = {"Origin": "https://venue.example"}
    asked = one.request("OPTIONS", "/v1/documents/t/1", headers={**page, "Access-Control-Request-Method": "PUT"})
    assert asked.status == 200
    assert asked.headers["Access-Control-Allow-Origin"] == "https://venue.example"
    assert "PUT" in asked.headers["Access-Control-Allow-Methods"]
    written = one.request("PUT", "/v1/documents/t/1", {"n": 1}, headers=page)
    assert (written.status, written.headers["Access-Control-Allow-Origin"]) == (201, "https://venue.example")
    refused = one.request("PUT", "/v1/documents/t/1", {"n": 2}, headers={"Origin": "https://evil.example"})
    assert refused.status == 403
    assert one.get("/v1/documents/t/1")["data"] == {"n": 1}


def test_clients_behind_a_proxy_have_a_rate_each(instance: Callable[..., Instance]) -> None:
    one = instance(security={"trusted_proxies": ["127.0.0.1"], "rate_limit": {"requests": 5, "window_s": 600}})

    def ask(client: str) -> int:
        return one.request("GET", "/health/live", headers={"X-Forwarded-For": client}).status

    assert [ask("192.168.7.9") for _ in range(6)] == [200] * 5 + [429]
    assert ask("192.168.7.10") == 200
    assert ask("192.168.7.9, 192.168.7.11") == 200
    # Without a proxy's word it is this box itself.
    assert one.request("GET", "/health/live").status == 200


def test_one_address_has_so_many_connections(instance: Callable[..., Instance]) -> None:
    one = instance(security={"limits": {"connections_per_address": 3}})
    held = []
    try:
        for _ in range(3):
            held.append(socket.create_connection(("127.0.0.1", port_of(one)), timeout=20))
            held[-1].sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert held[-1].recv(12) == b"HTTP/1.1 200"
        assert one.request("GET", "/health/live").status == 429
    finally:
        for sock in held:
            sock.close()
    one.wait_until(lambda: one.request("GET", "/health/live").status == 200)
