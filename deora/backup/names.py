"""The names of scheduled backups, and which of them go. Pure.

    deora-<node>-<UTC>-<commit>.db            deora-k3x9-20260131T120000Z-000000012345.db

What has another name, or is another box's, is nobody's to delete. The order is that of commits, which only rise, a
restore included: the clock may have been wrong by years when any of them was made.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

_NAME: Final = re.compile(r"deora-([0-9A-Za-z]+)-(\d{8}T\d{6}Z)-(\d{12,19})\.db", re.ASCII)
_STAMP: Final = "%Y%m%dT%H%M%SZ"
UPSTREAM: Final = ".upstream-"
"""what a file has behind the backup's name and before the upstream's that it is a copy of"""


@dataclass(frozen=True, slots=True)
class Named:
    """What a name says. `made_s`: seconds since 1970."""

    name: str
    node: str
    made_s: int
    commit: int


def name_of(node: str, made_s: int, commit: int) -> str:
    """The name of a backup of this node."""
    return f"deora-{node}-{datetime.fromtimestamp(made_s, UTC).strftime(_STAMP)}-{commit:012d}.db"


def read_name(name: str) -> Named | None:
    """What this name says; None for one that is none of ours."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    node, stamp, commit = match.groups()
    try:
        made = datetime.strptime(stamp, _STAMP).replace(tzinfo=UTC)
    except ValueError:
        return None
    return Named(name, node, int(made.timestamp()), int(commit))


def of_node(names: Iterable[str], node: str) -> list[Named]:
    """The backups of a node among these files, oldest first."""
    found = [named for named in map(read_name, names) if named is not None and named.node == node]
    return sorted(found, key=lambda named: (named.commit, named.made_s))


def surplus(names: Iterable[str], node: str, keep: int) -> list[str]:
    """The files that go so that the `keep` last backups of a node stay: backups, and what belongs to them."""
    names = list(names)
    going = {named.name for named in of_node(names, node)[:-keep]}
    return sorted(name for name in names if name.partition(UPSTREAM)[0] in going)
