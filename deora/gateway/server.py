"""What all connections of one listener share, and how many one address may have."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from deora.gateway.connection import Connection
from deora.gateway.door import Door, Peer
from deora.gateway.http import Head
from deora.gateway.incoming import Front
from deora.gateway.limits import Limits
from deora.gateway.sticky import cookie_of


class Server:
    """What all connections of one listener share.

    `next_id` makes the X-Request-Id of a refusal. `now_s` is finer than uvloop's clock, which ticks in milliseconds.
    """

    def __init__(
        self,
        front: Front,
        limits: Limits,
        door: Door,
        next_id: Callable[[], bytes],
        now_s: Callable[[], float] = time.monotonic,
        *,
        sticky: str = "none",
    ) -> None:
        self.front = front
        self.limits = limits
        self.door = door
        self.next_id = next_id
        self.now_s = now_s
        self.connections: set[Connection] = set()
        # Those that TLS has not opened yet, and since when. Of one whose handshake fails nobody tells.
        self._opening: dict[Connection, float] = {}
        self._of_address: Counter[str] = Counter()
        self.sticky = sticky

    def __call__(self) -> Connection:
        connection = Connection(self)
        self._opening[connection] = self.now_s()
        return connection

    def joined(self, connection: Connection) -> bool:
        """A client has connected; whether it may stay. A trusted proxy stands for many clients, and always may."""
        self._opening.pop(connection, None)
        self.connections.add(connection)
        address, most = connection.peer.address, self.limits.connections
        self._of_address[address] += 1
        return not (address and most and self._of_address[address] > most) or self.door.proxies.trusts(address)

    def left(self, connection: Connection) -> None:
        """A connection has ended."""
        self.connections.discard(connection)
        address = connection.peer.address
        self._of_address[address] -= 1
        if not self._of_address[address]:
            del self._of_address[address]

    def client_of(self, head: Head, peer: Peer) -> bytes | None:
        """What tells a client from another: its address, or the cookie that it was given; None where none sticks."""
        if self.sticky == "none":
            return None
        if self.sticky == "ip_hash":
            return self.door.client_of(head, peer).encode()
        return cookie_of(head.cookie)

    def sweep(self) -> None:
        """Ends the connections whose head, body or next request has not come in time."""
        now_s = self.now_s()
        for connection in list(self.connections):
            connection.sweep(now_s)
        # A handshake has as long as a head.
        since_s = now_s - self.limits.head_timeout_s
        self._opening = {one: began_s for one, began_s in self._opening.items() if began_s > since_s}

    def enter_by(self, door: Door) -> None:
        """Goes on with this door. A change stream would outlive its token's removal by days: it ends here."""
        door.remember(self.door)
        self.door = door
        streams = [connection.outflow for connection in self.connections if connection.outflow is not None]
        for stream in streams:
            if not door.access.still_knows(stream.token_hash):
                stream.revoke()

    def unserved(self) -> int:
        """How many connections have come and not yet asked for anything."""
        return sum(connection.at_work is None for connection in self.connections)

    def in_turns(self) -> set[Connection]:
        """The connections on which requests and answers take turns, or will: all but the streams."""
        return {connection for connection in self.connections if connection.outflow is None} | self._opening.keys()

    def hold(self) -> int:
        """Reads no new request from any connection; how many are still in the middle of one."""
        return sum(not connection.hold() for connection in list(self.connections))

    def hand_over(self) -> list[int]:
        """Lets go of the connections that another program can go on with: descriptors of them."""
        descriptors = [connection.hand_over() for connection in list(self.connections)]
        return [descriptor for descriptor in descriptors if descriptor is not None]

    def close(self) -> None:
        """Ends all connections, each with the answer that it waits for."""
        for connection in list(self.connections):
            connection.close_when_idle()
