"""The service on a file that is watched: noted after each transaction, looked through when nothing else is to do."""

from __future__ import annotations

from pathlib import Path

from deora.store.guard import Guard
from deora.store.replacing import reports
from deora.store.service import Service
from deora.wire.frames import Frame, Kind, encode, pack


class GuardedService(Service):
    """As `Service`; `watch` before the first group."""

    def watch(self, path: Path, guard: Guard) -> None:
        """Begins to note what becomes of the file at `path`."""
        self._path = path
        self._guard = guard
        guard.identity = self.identity
        self.space.copied = guard.follow
        self.told = self._damage()
        self._note()

    def handle(self, frames: list[Frame]) -> bytes:
        """See `Service.handle`. What is durable is noted before anybody is told."""
        answers = super().handle(frames)
        self._note()
        return answers

    def make_room(self) -> None:
        """See `Service.make_room`, which reads the file anew in a transaction of its own."""
        super().make_room()
        self._note()

    def housekeep(self, *, idle: bool = True) -> tuple[bytes, bool]:
        """See `Service.housekeep`. Raises Damaged where the file is not as it was written any more."""
        answers, more = super().housekeep(idle=idle)
        self._note()
        if not more:
            self._guard.scrub()
            told, self.told = self.told, self._damage()
            if told != self.told:
                answers += encode(Kind.EVENT, 0, pack(["damage", self.told]))
        return answers, more

    def finish(self) -> None:
        """Before the connection is closed in peace."""
        self._guard.finish(self._db)

    def _note(self) -> None:
        self._guard.note(self.progress.commit_no, self.progress.entry_id)

    def _damage(self) -> list[list[str]]:
        """What operators are to be told of damage that nobody has put away yet, and what to do."""
        return [[report.text(), report.hint] for report in reports(self._path)]
