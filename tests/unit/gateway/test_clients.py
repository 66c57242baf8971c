"""Where a request comes from."""

from __future__ import annotations

import pytest

from deora.gateway.clients import Proxies, is_loopback


@pytest.mark.parametrize(
    ("address", "is_local"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("10.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("fe80::1%eth0", False),
        ("", False),
        ("localhost", False),
    ],
)
def test_loopback(address: str, is_local: bool) -> None:
    assert is_loopback(address) is is_local


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "client"),
    [
        ("10.0.0.2", b"192.168.1.9", "192.168.1.9"),
        ("10.0.0.2", b"192.168.1.9, 10.0.0.3", "192.168.1.9"),
        ("10.0.0.2", b"6.6.6.6, 192.168.1.9", "192.168.1.9"),
        ("10.0.0.2", b"6.6.6.6, 192.168.1.9,10.1.0.3 , 10.0.0.3", "192.168.1.9"),
        ("10.0.0.2", b"", "10.0.0.2"),
        ("10.0.0.2", b"unknown", "10.0.0.2"),
        ("10.0.0.2", b"192.168.1.9, rubbish\xff", "10.0.0.2"),
        ("10.0.0.2", b"2001:db8::9", "2001:db8::9"),
        ("192.168.1.9", b"6.6.6.6", "192.168.1.9"),
        ("2001:db8:5::2", b"6.6.6.6", "6.6.6.6"),
    ],
)
def test_only_trusted_proxies_are_believed(peer: str, forwarded_for: bytes, client: str) -> None:
    proxies = Proxies(["10.0.0.0/8", "2001:db8:5::/48"])
    assert proxies.client_of(peer, forwarded_for) == client


def test_without_proxies_the_peer_is_the_client() -> None:
    proxies = Proxies([])
    assert proxies.client_of("127.0.0.1", b"6.6.6.6") == "127.0.0.1"
    assert not proxies.trusts("127.0.0.1")
