"""The mapped tables of one upstream: which collections they hold, and their columns as last read from the catalog."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from deora.config.database import Table as TableSettings
from deora.documents.paths import split
from deora.upstream.postgres.catalog import PRIVILEGES, READ_TABLE, Table, missing_grants, table_of
from deora.upstream.postgres.statements import quoted_table


class SetupError(Exception):
    """Something that a person has to set right upstream: a table, a grant. Nothing goes dead for it."""


class Tables:
    """Reads the catalog once for each table, and again when it is told to forget."""

    def __init__(self, settings: Mapping[str, TableSettings]) -> None:
        self._settings = settings
        self._known: dict[str, Table] = {}

    def is_mapped(self, collection: str) -> bool:
        """Whether the collection has a table of its own."""
        return collection in self._settings

    def is_mapped_path(self, path: str) -> bool:
        """Whether the document's collection has a table of its own."""
        return bool(self._settings) and split(path)[0] in self._settings

    async def get(self, connection: Any, collections: Iterable[str]) -> Mapping[str, Table]:
        """The tables of mapped collections. Raises SetupError for one that cannot be used."""
        for collection in collections:
            if collection not in self._known:
                settings = self._settings[collection]
                rows = await connection.fetch(READ_TABLE, quoted_table(settings.table))
                table = table_of(settings.table, settings.id, rows)
                if isinstance(table, str):
                    raise SetupError(f"the collection {collection!r}: {table}")
                self._known[collection] = table
        return self._known

    def forget(self) -> None:
        """The catalog may have changed."""
        self._known.clear()

    async def check_grants(self, connection: Any) -> None:
        """Raises SetupError that names what the role lacks on a table that was used."""
        for table in self._known.values():
            row = await connection.fetchrow(PRIVILEGES, table.sql)
            lacking = missing_grants(table, row)
            if lacking is not None:
                raise SetupError(lacking)
