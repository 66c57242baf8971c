"""Where a request comes from: the peer's address, or what a trusted proxy says of it. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def is_loopback(address: str) -> bool:
    """Whether an address is of this box itself."""
    parsed = _parse(address)
    return parsed is not None and parsed.is_loopback


class Proxies:
    """The proxies that are believed. What anybody else says in `X-Forwarded-For` is not."""

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks: list[Network] = [ipaddress.ip_network(network, strict=False) for network in networks]

    def trusts(self, address: str) -> bool:
        """Whether this address is a proxy's."""
        parsed = _parse(address)
        return parsed is not None and any(parsed in network for network in self._networks)

    def client_of(self, peer: str, forwarded_for: bytes) -> str:
        """The nearest address in the chain that is no proxy of ours.

        Each proxy adds the address that it was called from at the end, so the chain is read from there: what stands
        further in front was written by somebody who is not trusted.
        """
        if not self._networks:
            return peer
        client = peer
        for said in reversed(forwarded_for.split(b",")):
            if not self.trusts(client):
                break
            address = _parse(said.strip().decode("latin-1"))
            if address is None:
                break
            client = str(address)
        return client


def _parse(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped if mapped is not None else address
