"""Which worker serves a client of a real instance."""

from __future__ import annotations

from collections.abc import Callable

from bench.instance import Instance


def servers(one: Instance, count: int, headers: dict[str, str] | None = None) -> set[str]:
    return {one.request("GET", "/v1/documents/t", headers=headers).headers["X-Deora-Server"] for _ in range(count)}


def test_a_cookie_keeps_a_client_at_its_worker(instance: Callable[..., Instance]) -> None:
    one = instance(loadbalancer={"sticky": "cookie", "mode": "round_robin"})
    first = one.request("GET", "/v1/documents/t")
    cookie = first.headers["Set-Cookie"].partition(";")[0]
    assert cookie == f"SERVERID={first.headers['X-Deora-Server']}"
    assert servers(one, 6, {"Cookie": cookie}) == {first.headers["X-Deora-Server"]}
    assert one.request("GET", "/v1/documents/t", headers={"Cookie": cookie}).headers["Set-Cookie"] is None
    assert servers(one, 6) == {"primary", "secondary"}


def test_an_address_keeps_a_client_at_its_worker(instance: Callable[..., Instance]) -> None:
    one = instance(loadbalancer={"sticky": "ip_hash"}, security={"trusted_proxies": ["127.0.0.1"]})
    of_each = [servers(one, 3, {"X-Forwarded-For": f"192.168.7.{number}"}) for number in range(16)]
    assert all(len(found) == 1 for found in of_each)
    assert set().union(*of_each) == {"primary", "secondary"}


def test_the_least_busy_worker(instance: Callable[..., Instance]) -> None:
    one = instance(loadbalancer={"mode": "least_conn"})
    assert servers(one, 20) == {"primary", "secondary"}
