"""The same client to the same worker."""

from __future__ import annotations

from collections import Counter

import pytest

from deora.gateway.balancer import Server
from deora.gateway.sticky import STICKY, ByCookie, IpHash, cookie_of

BOTH = [Server("primary", 70, 1), Server("secondary", 30, 2)]
ADDRESSES = [f"192.168.{a}.{b}".encode() for a in range(20) for b in range(100)]


def by_address(servers: list[Server]) -> IpHash:
    made = IpHash()
    made.update(servers)
    return made


def test_an_address_always_goes_to_the_same_worker() -> None:
    made, again = by_address(BOTH), by_address(BOTH)
    assert [made.pick(address) for address in ADDRESSES] == [again.pick(address) for address in ADDRESSES]


def test_addresses_spread_by_weight() -> None:
    counts = Counter(by_address(BOTH).pick(address) for address in ADDRESSES)
    assert counts["primary"] == pytest.approx(1400, abs=80)


def test_only_the_clients_of_a_worker_that_goes_move() -> None:
    three = [Server(f"w{number}", 1, 1) for number in range(3)]
    whole, less = by_address(three), by_address(three[:2])
    for address in ADDRESSES:
        before, after = whole.pick(address), less.pick(address)
        assert after == before or before == "w2"


def test_without_an_address_or_a_server_any_will_do() -> None:
    assert by_address(BOTH).pick(b"") is None
    assert by_address([]).pick(b"10.0.0.1") is None
    assert by_address([Server("spare", 0, 1)]).pick(b"10.0.0.1") == "spare"
    assert IpHash().lines(b"10.0.0.1", "primary") == b""


def test_a_cookie_names_the_worker() -> None:
    made = ByCookie()
    made.update(BOTH)
    assert made.pick(b"secondary") == "secondary"
    assert made.pick(b"gone") is None
    assert made.pick(b"") is None
    assert made.lines(b"secondary", "secondary") == b""
    assert made.lines(b"gone", "primary").startswith(b"Set-Cookie: SERVERID=primary; ")


@pytest.mark.parametrize(
    ("header", "value"),
    [
        (b"SERVERID=primary", b"primary"),
        (b"a=b; SERVERID=secondary; c=d", b"secondary"),
        (b"serverid=primary", b""),
        (b"XSERVERID=primary", b""),
        (b"SERVERID", b""),
        (b"", b""),
    ],
)
def test_a_cookie_header(header: bytes, value: bytes) -> None:
    assert cookie_of(header) == value


def test_every_kind_of_the_configuration_is_there() -> None:
    assert {"none": None, "ip_hash": IpHash, "cookie": ByCookie} == STICKY
