"""Which names this box is called by: the guard against DNS rebinding and against pages of other origins.

A browser in the venue can be made to send requests here by any page that it shows. So a request must name this box in
its Host, and one that comes from a page (it has an Origin) must come from a page of this box.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

import psutil

from deora.errors import Problem

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
KNOWN_AT_MOST: Final = 1024


def own_names() -> set[str]:
    """This box's addresses and host name."""
    addresses = {
        address.address.partition("%")[0]
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family in (socket.AF_INET, socket.AF_INET6)
    }
    return {socket.gethostname(), *addresses}


class Names:
    """The names by which clients may call this box."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = LOOPBACK | {name.lower() for name in names}
        # Hosts that have been found good, so that each is taken apart once. Bounded by what may be good.
        self._known: set[bytes] = set()

    def check_host(self, host: bytes) -> None:
        """Raises Problem (403) for a Host that is not this box."""
        if host not in self._known:
            self._require("Host", host, _name(b"//" + host))
            if len(self._known) < KNOWN_AT_MOST:
                self._known.add(host)

    def check_origin(self, origin: bytes) -> None:
        """Raises Problem (403) for a page of elsewhere."""
        self._require("Origin", origin, _name(origin))

    def _require(self, header: str, value: bytes, name: str | None) -> None:
        if name not in self._names:
            raise Problem(
                "forbidden",
                f"the {header} {value.decode('latin-1')[:100]!r} is not this box",
                hint="call it by an address or a name that it has, or name it in security.json, allowed_hosts",
            )


def _name(value: bytes) -> str | None:
    try:
        return urlsplit(value.decode("ascii")).hostname
    except ValueError:
        return None
