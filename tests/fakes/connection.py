"""A SQLite connection that fails where a test wants it to, as a disk or a kill would."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from typing import Any, cast


class FaultyConnection:
    """Passes statements on to a real connection until the fault that was armed.

    `arm(3)` lets three more statements through and fails instead of the fourth; `arm_commit` lets the next COMMIT take
    effect and fails then, so that its outcome is unknown to the caller. After a fault everything fails, as it would on
    a disk that is gone: only `close` works, and takes what was not committed with it.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._left: int | None = None
        self._after_commit = False
        self.statements: list[str] = []
        self.failed = False

    def arm(self, statements: int) -> None:
        """Fails instead of the statement after the next `statements` ones."""
        self._left = statements

    def arm_commit(self) -> None:
        """Fails right after the next COMMIT has become durable."""
        self._after_commit = True

    def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
        """As sqlite3.Connection.execute."""
        self._count()
        cursor = self._db.execute(sql, parameters)
        self.statements.append(sql)
        if sql == "COMMIT" and self._after_commit:
            self._fail()
        return cursor

    def executemany(self, sql: str, rows: Iterable[Any]) -> sqlite3.Cursor:
        """As sqlite3.Connection.executemany."""
        self._count()
        cursor = self._db.executemany(sql, rows)
        self.statements.append(sql)
        return cursor

    def create_function(self, name: str, arguments: int, function: Callable[..., Any]) -> None:
        """As sqlite3.Connection.create_function."""
        self._db.create_function(name, arguments, function)

    @property
    def in_transaction(self) -> bool:
        """As sqlite3.Connection.in_transaction; False after a fault, when no ROLLBACK can be sent any more."""
        return not self.failed and self._db.in_transaction

    def close(self) -> None:
        """Closes the real connection; SQLite forgets what was not committed."""
        self._db.close()

    def as_connection(self) -> sqlite3.Connection:
        """This object, as the type that production code asks for."""
        return cast("sqlite3.Connection", self)

    def _count(self) -> None:
        if self.failed:
            raise sqlite3.OperationalError("disk I/O error")
        if self._left == 0:
            self._fail()
        if self._left is not None:
            self._left -= 1

    def _fail(self) -> None:
        self.failed = True
        raise sqlite3.OperationalError("disk I/O error")
