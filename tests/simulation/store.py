"""The store's process: its real loop, which blocks, and therefore drives the world while it waits for frames.

`deora.store.main` runs unchanged, from its `_loop` down to SQLite. Only the two ends of its link are ours: to receive
lets other things happen until frames are there, to send may be the store's last act, in its middle, too. Whatever ends
the process (a kill, or an error that it ends for by itself) leaves the disk as it is then.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from itertools import count

from deora.config.schema import Config
from deora.store import main as store_main
from deora.store.service import Service
from deora.wire.frames import Decoder, Frame, Kind, encode, pack
from deora.wire.link import BlockingLink
from tests.simulation.disk import Disk, Killed
from tests.simulation.sockets import SocketEnd
from tests.simulation.world import World


class StoreLink(BlockingLink):
    """The store's end of its socket. `at_send` is what befalls the next answers: "before", "middle" or "after" them the
    store is killed."""

    def __init__(self, process: StoreProcess, end: SocketEnd) -> None:
        # Without the operating system's socket of the real one.
        self._process = process
        self._end = end
        self._decoder = Decoder()

    def receive(self, timeout_s: float) -> list[Frame] | None:
        """See `BlockingLink.receive`."""
        process, world = self._process, self._process.world
        until_s = world.now_s + max(0.0, timeout_s)
        process.between_groups()
        while True:
            if process.kill_wanted:
                raise Killed
            inbox = self._end.inbox
            # What has arrived is read at once, or a moment later, together with more.
            if inbox and world.chance(0.5):
                taken = b"".join(inbox)
                inbox.clear()
                return self._decoder.feed(taken)
            if not inbox and self._end.ended:
                return None
            if not inbox and world.now_s >= until_s:
                return []
            world.step(until_s)

    def send(self, data: bytes) -> None:
        """See `BlockingLink.send`."""
        at_send, self._process.at_send = self._process.at_send, ""
        if at_send == "before":
            raise Killed
        if at_send == "middle":
            self._end.write(data[: self._process.world.dice.randrange(len(data))])
            raise Killed
        self._end.write(data)
        if at_send == "after":
            raise Killed


class StoreProcess:
    """One life of the store after the other. `service` is that of the present one."""

    def __init__(self, world: World, disk: Disk, config: Config) -> None:
        self.world = world
        self.disk = disk
        self.service: Service | None = None
        self.kill_wanted = False
        self.at_send = ""
        self.starting: tuple[SocketEnd, int] | None = None
        """the socket and the generation of the store that is to start"""
        self.watch: Callable[[Service, sqlite3.Connection], None] | None = None
        """called between two groups"""
        self.at_open: Callable[[], None] | None = None
        """called when the next store has opened its file"""
        self._settings = store_main.settings_of(config)
        self._batches = count(1)
        self._connection: sqlite3.Connection | None = None

    def kill(self) -> None:
        """The store dies, now that it waits or is about to start."""
        self.kill_wanted, self.starting = True, None

    def between_groups(self) -> None:
        """The store has answered a group, and waits for the next."""
        if self.watch is not None and self.service is not None and self._connection is not None:
            self.watch(self.service, self._connection)

    def run(self) -> None:
        """One life, from its start to its end; the world goes on meanwhile."""
        assert self.starting is not None
        (end, generation), self.starting = self.starting, None
        world = self.world
        self.kill_wanted, self.at_send = False, ""
        self.disk.disarm()
        connection = self.disk.open()
        db = self._connection = connection.as_connection()
        try:
            service = self.service = Service(db, self._settings, world.clock, self._batch_id)
            world.note("store", f"opened, commit {service.progress.commit_no}")
            at_open, self.at_open = self.at_open, None
            if at_open is not None:
                at_open()
            link = StoreLink(self, end)
            link.send(encode(Kind.HELLO, 0, pack({}), generation=generation))
            code = store_main._loop(link, service, world.clock)
            world.note("store", f"ended with {code}")
        except Killed:
            world.note("store", "killed")
        except sqlite3.Error as error:
            world.note("store", f"ended for {error}")
        finally:
            self.service = None
            connection.close()
            end.close()

    def _batch_id(self) -> str:
        return f"b{next(self._batches)}"
