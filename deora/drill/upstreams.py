"""Where a scratch instance's writes go, as the drill sees it: what it holds, and its faults."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final, Protocol, Self

LOCK_TIMEOUT_S: Final = 5.0


class Upstream(Protocol):
    """An upstream that the drill controls. Leaving the `with` block ends it."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...

    @property
    def config(self) -> dict[str, Any]:
        """The upstream as database.json names it."""

    def documents(self) -> dict[str, dict[str, Any]]:
        """Path -> data of all documents."""

    def refuse(self) -> None:
        """Nothing is taken any more, until `mend`."""

    def mend(self) -> None:
        """All is well again."""


class Embedded:
    """The embedded upstream: a SQLite file in the scratch instance's data directory. It needs no package."""

    def __init__(self, data: Path) -> None:
        self._file = data / "upstream.db"
        self._lock: sqlite3.Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.mend()

    @property
    def config(self) -> dict[str, Any]:
        """See `Upstream.config`."""
        return {"type": "sqlite", "file": self._file.name}

    def documents(self) -> dict[str, dict[str, Any]]:
        """See `Upstream.documents`."""
        return embedded_documents(self._file) if self._file.exists() else {}

    def refuse(self) -> None:
        """Another writer holds the file, and does not let go."""
        self._lock = sqlite3.connect(self._file, isolation_level=None, timeout=LOCK_TIMEOUT_S)
        self._lock.execute("BEGIN IMMEDIATE")

    def mend(self) -> None:
        """See `Upstream.mend`."""
        lock, self._lock = self._lock, None
        if lock is not None:
            with suppress(sqlite3.Error):
                lock.rollback()
            lock.close()


def embedded_documents(file: Path) -> dict[str, dict[str, Any]]:
    """Path -> data of every document in the embedded upstream's file."""
    with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as db:
        rows = db.execute("SELECT path, data FROM deora_documents").fetchall()
    return {path: json.loads(data) for path, data in rows}
