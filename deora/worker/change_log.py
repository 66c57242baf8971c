"""The order of all changes, read from the store's file: the primary upstream's entries, and what has none.

Ids of entries and numbers of commits rise together, so a commit's entry is found without an index. Each statement sees
one snapshot. What is looked at last tells whether something had been pruned: `pruned` only rises.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import msgpack
import orjson

from deora.documents.paths import split
from deora.documents.positions import Position
from deora.worker.events import Change, Now, changes_of
from deora.worker.reader import Reader

COMMITS_AT_ONCE: Final = 256
DOCUMENTS_AT_ONCE: Final = 256
PAGE_BYTES: Final = 1024 * 1024
NOTED_AT_ONCE: Final = 2048
_DELETE: Final = 3
_LAST: Final = 2**63 - 1

_HEAD: Final = "SELECT epoch, commit_no, pruned_commit FROM identity, progress"
# The first entry behind a commit, by halves.
_FIND: Final = """WITH RECURSIVE part (low, high, is_here) AS (
    SELECT 0, coalesce(max(id), 0) + 1, NULL FROM entries
    UNION ALL SELECT iif(is_here, (low + high) / 2 + 1, low), iif(is_here, high, (low + high) / 2), NULL
      FROM part WHERE is_here IS NOT NULL
    UNION ALL SELECT low, high, coalesce((
        SELECT commit_no FROM entries WHERE id >= (low + high) / 2 ORDER BY id LIMIT 1) <= ?1, 0)
      FROM part WHERE is_here IS NULL AND low < high)
  SELECT low FROM part WHERE low >= high LIMIT 1"""
_ENTRIES: Final = """SELECT epoch, progress.commit_no,
    coalesce(e.id, 0), coalesce(e.commit_no, 0), coalesce(e.payload, x'')
  FROM identity CROSS JOIN progress LEFT JOIN (
    SELECT id, commit_no, payload FROM entries
    WHERE id >= ?1 AND id < ?2 AND upstream = (SELECT id FROM upstreams WHERE name = 'primary')
    ORDER BY id LIMIT ?3) AS e"""
_NOTED: Final = """SELECT pruned_commit, c.commit_no, c.path FROM progress LEFT JOIN (
    SELECT commit_no, place, path FROM changes WHERE commit_no > ?1 AND commit_no <= ?2
    ORDER BY commit_no, place LIMIT ?3) AS c
  ORDER BY c.commit_no, c.place"""
_DOCUMENTS: Final = """SELECT wanted.key, version, updated_us, coalesce(CAST(view AS BLOB), x'')
  FROM json_each(?) AS wanted
  CROSS JOIN documents ON documents.collection = json_extract(wanted.value, '$[0]')
    AND name = json_extract(wanted.value, '$[1]')"""


class Head(NamedTuple):
    """How far the store has come, and up to which commit something may be gone."""

    epoch: str
    commit: int
    pruned: int

    def missed(self, epoch: str, position: Position) -> str:
        """Why a stream cannot go on from there; empty where it can."""
        if epoch != self.epoch:
            return "epoch"
        if position.commit > self.commit:
            return "future"
        return "pruned" if position.whole_commit < self.pruned else ""


class Page(NamedTuple):
    """What follows a position: all changes up to the commit `end`. `next_id`: where its next page's entries begin."""

    head: Head
    changes: list[Change]
    end: int
    next_id: int
    is_last: bool


async def read_head(reader: Reader) -> Head:
    """How far the store has come now."""
    [row] = await reader.rows(_HEAD)
    return Head(*row)


async def read_page(
    reader: Reader, position: Position, next_id: int | None, until: tuple[int, int] | None = None
) -> Page:
    """The page behind a position. `until`: a commit, and the first entry behind it, at which others stand already."""
    whole = position.whole_commit
    if next_id is None:
        [(next_id,)] = await reader.rows(_FIND, (whole,))
    until_commit, until_id = until or (_LAST, _LAST)
    rows: list[tuple[Any, ...]] = await reader.rows_within(
        _ENTRIES, (next_id, until_id, COMMITS_AT_ONCE), column=4, max_bytes=PAGE_BYTES
    )
    is_cut = getattr(rows, "cut", False) or len(rows) == COMMITS_AT_ONCE
    epoch, commit = rows[0][:2]
    entries = [row[2:] for row in rows if row[2]]
    end = entries[-1][1] if is_cut else min(commit, until_commit)
    noted = await reader.rows(_NOTED, (whole, end, NOTED_AT_ONCE))
    if len(noted) == NOTED_AT_ONCE:
        end, is_cut = noted[-1][1], True
        noted = await reader.rows(_NOTED, (whole, end, _LAST))
        entries = [entry for entry in entries if entry[1] <= end]
    pruned = noted[0][0]
    documents: dict[int, dict[str, bool | None]] = {}
    for _, commit_no, path in noted:
        if commit_no is not None:
            documents.setdefault(commit_no, {})[path] = None
    for _, commit_no, payload in entries:
        documents[commit_no] = documents_of(payload)
    changes = [
        change
        for commit_no in sorted(documents)
        for change in changes_of(commit_no, documents[commit_no])
        if change.position > position
    ]
    next_id = entries[-1][0] + 1 if entries else next_id
    return Page(Head(epoch, commit, pruned), changes, end, next_id, not is_cut)


def documents_of(payload: bytes) -> dict[str, bool | None]:
    """The documents that an entry's writes touch, in order, and whether the last write deletes."""
    return {parts[1]: parts[0] & 3 == _DELETE for parts in msgpack.unpackb(payload)}


async def read_documents(reader: Reader, changes: list[Change]) -> tuple[int, dict[str, Now]]:
    """What the documents of the first changes hold now, and how many changes that is good for, one at least."""
    paths = list(dict.fromkeys(change.path for change in changes[:DOCUMENTS_AT_ONCE]))
    wanted = orjson.dumps([split(path) for path in paths]).decode()
    rows = await reader.rows_within(_DOCUMENTS, (wanted,), column=3, max_bytes=PAGE_BYTES)
    found = {paths[key]: Now(version, updated_us, view or None) for key, version, updated_us, view in rows}
    if not rows.cut:
        return min(len(changes), DOCUMENTS_AT_ONCE), found
    return _before_first(changes, paths[rows[-1][0] + 1 :]), found


def _before_first(changes: list[Change], unread: Iterable[str]) -> int:
    missing = set(unread)
    return next((index for index, change in enumerate(changes) if change.path in missing), len(changes))
