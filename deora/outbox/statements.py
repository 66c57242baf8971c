"""The SQL of the outbox, read from `queries.sql` once: named there, used by name here."""

from __future__ import annotations

import re
from importlib import resources
from typing import Final

_NAME: Final = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def load_statements(package: str, file: str) -> dict[str, str]:
    """Name -> SQL text of a file in which each statement follows a line `-- name: x`."""
    text = resources.files(package).joinpath(file).read_text(encoding="utf-8")
    parts = _NAME.split(text)
    return {name: body.strip() for name, body in zip(parts[1::2], parts[2::2], strict=True)}


SQL: Final = load_statements("deora.outbox", "queries.sql")
