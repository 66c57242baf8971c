"""Entries that were taken over: who gave them their numbers, and which of them have come in.

An entry keeps its node, its epoch and its number for ever. So the cursor that its first box moved upstream goes on
telling whether it has been applied, whoever sends it, and a file that is imported twice brings nothing in twice.

Own entries have no origin, and while there is none for an upstream nothing is asked of the file for its sake.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

import orjson

from deora.outbox.statements import SQL


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose entries, for which upstream. `upto`: the last number that this store itself gave out in an earlier life;
    0 where it was another box's."""

    id: int
    upstream: int
    node: str
    epoch: str
    upto: int = 0


class Origins:
    """The rows of `origins` and `imported`. Works within the store's transaction."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        found = [Origin(*row) for row in db.execute(SQL["origins"])]
        self._by_id = {origin.id: origin for origin in found}
        self._by_name = {(origin.upstream, origin.node, origin.epoch): origin for origin in found}

    def find(self, upstream: int, node: str, epoch: str) -> Origin | None:
        """The origin of this name."""
        return self._by_name.get((upstream, node, epoch))

    def add(self, upstream: int, node: str, epoch: str) -> Origin:
        """The origin of this name, made where there is none."""
        name = (upstream, node, epoch)
        origin = self.find(*name)
        if origin is None:
            origin = Origin(max(self._by_id, default=0) + 1, *name)
            self._db.execute(SQL["add_origin"], (origin.id, *name))
            self._by_id[origin.id] = self._by_name[name] = origin
        return origin

    def of_upstream(self, upstream: int) -> list[tuple[int, str, str]]:
        """Id, node and epoch of each origin whose entries for this upstream were taken over."""
        return [
            (origin.id, origin.node, origin.epoch) for origin in self._by_id.values() if origin.upstream == upstream
        ]

    def lives(self, upstream: int) -> list[Origin]:
        """The earlier lives of this store."""
        return [origin for origin in self._by_id.values() if origin.upstream == upstream and origin.upto]

    def of_entries(self, upstream: int, ids: list[int]) -> dict[int, Origin]:
        """Which of these entries of an upstream were taken over, and from whom. They have been written."""
        if not any(origin.upstream == upstream for origin in self._by_id.values()):
            return {}
        return {
            ident: self._by_id[origin] for ident, origin in self._db.execute(SQL["origins_of"], (orjson.dumps(ids),))
        }

    def known(self, origin: Origin, numbers: Iterable[int]) -> set[int]:
        """Which of these numbers have come in before, or were given out by this store in an earlier life."""
        numbers = list(numbers)
        rows = self._db.execute(SQL["imported"], (origin.id, orjson.dumps(numbers)))
        return {number for (number,) in rows} | {number for number in numbers if number <= origin.upto}

    def note(self, origin: Origin, numbers: Iterable[int]) -> None:
        """These numbers have come in."""
        self._db.executemany(SQL["add_imported"], [(origin.id, number) for number in numbers])
