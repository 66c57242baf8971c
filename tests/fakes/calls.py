"""The store as a replayer reaches it, without processes: the replayer's own `Calls` on a link that hands each CALL to a
real service on a real file, and each REPLY back. So the outbox, the frames and the calls are the real ones.
"""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from deora.documents.writes import Write
from deora.outbox.listing import COLUMNS, entry_json, members
from deora.replay.calls import Calls
from deora.store.service import Service, Settings
from deora.wire.frames import Decoder, Kind, Role
from deora.wire.link import Link
from tests.fakes.clock import ManualClock
from tests.fakes.store import Group, StoreFile, decode_group, encode_commit, settings_with, update

_ENTRIES = f"SELECT {COLUMNS} ORDER BY e.id"


class StoreWithCalls(StoreFile):
    """A store that a lane can ask. The file is not synced: what a power cut leaves is not tested with it."""

    def __init__(self, path: Path, clock: ManualClock, settings: Settings | None = None) -> None:
        super().__init__(path, settings or settings_with(max_entries=1_000_000, max_bytes=2**31), clock)
        # Beside the numbers of the calls.
        self.ids = count(2**32)

    def open(self) -> None:
        """Starts a service, and calls to it; those under way at the last one are lost."""
        super().open()
        self.db.execute("PRAGMA synchronous = OFF")
        self.calls = Calls()
        self.calls.link = _LinkToStore(self)

    def handle(self, *frames: bytes) -> Group:
        """One group of frames; the replies that the replayer waits for reach it."""
        data = self.service.handle(Decoder().feed(b"".join(frames)))
        for frame in Decoder().feed(data):
            if frame[0] == Kind.REPLY:
                self.calls.replied(frame)
        self._wake_for_what_lingers()
        return decode_group(data)

    def _wake_for_what_lingers(self) -> None:
        """As the store's process does between two groups: a claim that waits for more writes must not wait for ever."""
        wait_s = self.service.wait_s(math.inf)
        with suppress(RuntimeError):  # without a loop nobody waits
            if wait_s < math.inf:
                asyncio.get_running_loop().call_later(wait_s + 0.001, self._wake, self.service)

    def _wake(self, service: Service) -> None:
        if service is self.service:
            self.handle()

    def write_each(self, writes: list[Write], priority: int = 0) -> None:
        """A commit for each write, all in one group; every one must be accepted."""
        group = self.handle(*(encode_commit(next(self.ids), [write], priority=priority) for write in writes))
        assert all(answer.problem is None for answer in group.answers.values())

    def pause(self, paused: bool) -> None:
        """Pauses or resumes the upstream `primary`."""
        assert self.operate("pause", "primary", paused).problem is None

    def entries(self, state: str | None = None) -> list[dict[str, Any]]:
        """All entries as `GET /v1/queue/entries` shows them, or those in one state."""
        inflight = members(self.rows("SELECT members FROM batches"))
        shown = [entry_json(row, inflight) for row in self.rows(_ENTRIES)]
        return [entry for entry in shown if state is None or entry["state"] == state]

    def waiting(self) -> int:
        """How many entries are pending or inflight."""
        return sum(upstream.pending for upstream in self.service.outbox.upstreams.values())

    def views(self) -> dict[str, bytes]:
        """What clients see: path -> canonical text of each document that exists."""
        return dict(
            self.rows("SELECT collection || '/' || name, CAST(view AS BLOB) FROM documents WHERE view IS NOT NULL")
        )


class _LinkToStore(Link):
    """The replayer's end of the star; the supervisor between is left out."""

    def __init__(self, store: StoreWithCalls) -> None:
        # Without the link's own set-up: it would ask for a running loop.
        self._store = store

    def send(self, frame: bytes) -> None:
        [(kind, _, role, *_)] = Decoder().feed(frame)
        assert (kind, role) == (Kind.CALL, Role.STORE)
        self._store.handle(frame)


def increment(path: str, by: int = 1) -> Write:
    """One more on the counter `n` of a document that may not exist yet."""
    return update(path, {"n": {"$increment": by}}, upsert=True)
