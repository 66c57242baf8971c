"""Makes a salvaged file whole again: what its tables say of each other must agree before a store works on it.

Counters are counted anew, queues are built anew, batches keep the members that are left. What an entry was numbered is
never used again, and neither is a version: where the newest rows may be missing, the counters leap.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import orjson

from deora.documents.paths import split
from deora.documents.writes import Write, decode_writes, encode_writes
from deora.outbox.heads import decode_heads, document_of, head_id
from deora.outbox.states import STORED, State
from deora.outbox.storage import OVERHEAD_BYTES, Outbox
from deora.store.identity import load_identity
from deora.store.settlements import PRIMARY
from deora.store.sums import Mark

# Farther than a store comes in the seconds that a mark may be behind.
LEAP: Final = 1_000_000
_NAMED_AT_MOST: Final = 20
_SEND_AGAIN: Final = """INSERT INTO entries (id, upstream, number, state, priority, commit_no, created_us, running_s,
  writes, attempts, heads, payload) VALUES (?, ?, ?, 0, 5, ?, 0, ?, 1, 0, ?, ?)"""


@dataclass(slots=True)
class Rebuilt:
    """What is missing. `documents`: paths whose row is lost while writes to them wait. `sent_again`: paths some of
    whose waiting writes are lost, so that the whole document was queued. `entries`: how many waiting or dead entries
    are missing, as far as counters tell. `stranger`: the old node and epoch are not known; `unplaced`: an upstream's
    cursor is not known. `made_own`: how many waiting or dead entries were taken over, nobody knows from whom.
    """

    documents: list[str] = field(default_factory=list)
    sent_again: list[str] = field(default_factory=list)
    entries: int = 0
    stranger: bool = False
    unplaced: bool = False
    made_own: int = 0


def leap(db: sqlite3.Connection, mark: Mark | None, upstreams: Iterable[str] = ()) -> None:
    """Moves the counters behind everything that may have been used and is lost. A transaction is open.

    The numbers that are passed over were never given, so none of them is missed where upstream is restored.
    """
    for name in upstreams:
        _add_upstream(db, name)
    commit_no, entry_id = (mark.commit_no, mark.entry_id) if mark is not None else (0, 0)
    if not db.execute("SELECT 1 FROM progress").fetchall():
        db.execute("INSERT INTO progress (commit_no, entry_id, running_s) VALUES (0, 0, 0)")
    db.execute(
        "UPDATE progress SET commit_no = ?1 + max(commit_no, ?2, (SELECT coalesce(max(commit_no), 0) FROM documents),"
        " (SELECT coalesce(max(commit_no), 0) FROM entries)),"
        " entry_id = ?1 + max(entry_id, ?3, (SELECT coalesce(max(id), 0) FROM entries))",
        (LEAP, commit_no, entry_id),
    )
    # Each number but those of retried entries came with an entry's id.
    db.execute(
        "UPDATE upstreams SET number = ?1 + max(number, ?2,"
        " (SELECT coalesce(max(number), 0) FROM entries WHERE upstream = upstreams.id"
        " AND origin IS NULL))",
        (LEAP, entry_id),
    )
    db.execute(
        "INSERT INTO given_up (upstream, first, last) SELECT id, number - ?1 + 1, number FROM upstreams", (LEAP,)
    )
    db.execute(
        "UPDATE progress SET running_s = max(running_s, (SELECT coalesce(max(running_s), 0) FROM entries),"
        " (SELECT coalesce(max(running_s), 0) FROM answers))"
    )


def rebuild(db: sqlite3.Connection, mark: Mark | None, names: list[str], unclear: set[str]) -> Rebuilt:
    """Makes a salvaged file whole. `names`: the configured upstreams; `unclear`: the tables of which rows are lost."""
    rebuilt = Rebuilt()
    db.execute("BEGIN")
    _identify(db, mark, rebuilt)
    expected = dict(db.execute("SELECT id, pending + dead FROM upstreams").fetchall())
    known = {name for (name,) in db.execute("SELECT name FROM upstreams")}
    rebuilt.unplaced = bool("upstreams" in unclear and set(names) - known)
    if unclear & {"upstreams", "progress", "entries", "documents", "identity"}:
        leap(db, mark, names)
    _make_own(db, rebuilt)
    rebuilt.entries = _missing_entries(db, expected)
    _restore_documents(db, rebuilt)
    _send_again(db, rebuilt)
    _recount_upstreams(db)
    _recount_documents(db)
    if "documents" in unclear:
        # Listed anew from upstream, which brings back what it has of the documents that are lost.
        db.execute("DELETE FROM replicas")
    if rebuilt.stranger or rebuilt.unplaced:
        db.execute("UPDATE upstreams SET paused = 1")
    _requeue(db, [name for (name,) in db.execute("SELECT name FROM upstreams ORDER BY id")])
    db.execute("COMMIT")
    return rebuilt


def _add_upstream(db: sqlite3.Connection, name: str) -> None:
    """A row for an upstream whose own is lost: `primary` was the first that this store was given."""
    taken = dict(db.execute("SELECT name, id FROM upstreams").fetchall())
    if name not in taken:
        ident = 0 if name == PRIMARY else 1
        while ident in taken.values():
            ident += 1
        db.execute("INSERT INTO upstreams (id, name) VALUES (?, ?)", (ident, name))


def _identify(db: sqlite3.Connection, mark: Mark | None, rebuilt: Rebuilt) -> None:
    if not db.execute("SELECT 1 FROM identity").fetchall():
        if mark is not None and mark.node and mark.epoch:
            db.execute("INSERT INTO identity (node, epoch) VALUES (?, ?)", (mark.node, mark.epoch))
        else:
            rebuilt.stranger = True
    if not db.execute("SELECT 1 FROM progress").fetchall():
        db.execute("INSERT INTO progress (commit_no, entry_id, running_s) VALUES (0, 0, 0)")
    load_identity(db)


def _make_own(db: sqlite3.Connection, rebuilt: Rebuilt) -> None:
    """Entries whose origin is lost go on under numbers of this store. Done ones, kept for a restore of upstream, go: by
    no cursor could be told then that upstream has them."""
    orphans = "FROM entries WHERE origin IS NOT NULL AND origin NOT IN (SELECT id FROM origins)"
    db.execute(f"DELETE {orphans} AND state = ?", (STORED[State.DONE],))
    rows = db.execute(f"SELECT id, upstream {orphans} ORDER BY id").fetchall()
    for ident, upstream in rows:
        [(number,)] = db.execute("UPDATE upstreams SET number = number + 1 WHERE id = ? RETURNING number", (upstream,))
        db.execute("UPDATE entries SET origin = NULL, number = ? WHERE id = ?", (number, ident))
    rebuilt.made_own = len(rows)


def _restore_documents(db: sqlite3.Connection, rebuilt: Rebuilt) -> None:
    """A row for each document that entries wait for and whose own is lost. What it held is not known: nothing is shown
    of it until upstream has the entries and is asked."""
    known = {ident for (ident,) in db.execute("SELECT id FROM documents")}
    missing: dict[int, str] = {}
    rows = db.execute("SELECT heads, payload FROM entries WHERE state <> ?", (STORED[State.DONE],))
    for heads, payload in rows.fetchall():
        paths = list(dict.fromkeys(write.path for write in decode_writes(payload)))
        for head, path in zip(decode_heads(heads), paths, strict=False):
            if document_of(head) not in known:
                missing[document_of(head)] = path
    for ident, path in missing.items():
        collection, name = split(path)
        db.execute(
            "INSERT OR IGNORE INTO documents (id, collection, name, version, commit_no, created_us, updated_us,"
            " pending, dead, base_state, base_seq, checked_us) VALUES (?, ?, ?, '', 0, 0, 0, 0, 0, 0, 0, 0)",
            (ident, collection, name),
        )
        rebuilt.documents.append(path)


def _missing_entries(db: sqlite3.Connection, expected: dict[int, int]) -> int:
    found = dict(db.execute("SELECT upstream, count(*) FROM entries WHERE state <> 1 GROUP BY upstream").fetchall())
    return sum(max(0, count - found.get(ident, 0)) for ident, count in expected.items())


def _waiting(db: sqlite3.Connection) -> dict[int, tuple[int, int]]:
    """Document -> its pending and its dead entries of the primary upstream, counted."""
    waiting: dict[int, tuple[int, int]] = {}
    rows = db.execute(
        "SELECT state, heads FROM entries JOIN upstreams ON upstreams.id = upstream WHERE name = ? AND state <> 1",
        (PRIMARY,),
    )
    for state, heads in rows:
        for head in decode_heads(heads):
            pending, dead = waiting.get(document_of(head), (0, 0))
            is_dead = state == STORED[State.DEAD]
            waiting[document_of(head)] = (pending + (not is_dead), dead + is_dead)
    return waiting


def _send_again(db: sqlite3.Connection, rebuilt: Rebuilt) -> None:
    """Documents that know of more waiting writes than there are: what they hold goes to upstream as a whole, behind
    all that still waits. So their lost writes take effect after all, and each once."""
    waiting = _waiting(db)
    rows = db.execute(
        "SELECT id, collection || '/' || name, CAST(view AS BLOB), pending + dead FROM documents WHERE pending OR dead"
    ).fetchall()
    short = [row for row in rows if row[3] > sum(waiting.get(row[0], (0, 0)))]
    rebuilt.sent_again = [row[1] for row in short]
    [(commit_no, entry_id, running_s)] = db.execute("SELECT commit_no, entry_id, running_s FROM progress").fetchall()
    for ident, path, view, _ in short:
        commit_no += 1
        payload = encode_writes([Write("delete" if view is None else "set", path, view)])
        for upstream, number in db.execute("SELECT id, number + 1 FROM upstreams").fetchall():
            entry_id += 1
            db.execute("UPDATE upstreams SET number = ? WHERE id = ?", (number, upstream))
            db.execute(
                _SEND_AGAIN, (entry_id, upstream, number, commit_no, running_s, head_id(ident, upstream), payload)
            )
    db.execute("UPDATE progress SET commit_no = ?, entry_id = ?", (commit_no, entry_id))


def _recount_upstreams(db: sqlite3.Connection) -> None:
    """The figures of each upstream; all its entries are in the tail, until `_requeue`."""
    for (ident,) in db.execute("SELECT id FROM upstreams").fetchall():
        counts: Counter[int] = Counter()
        sizes: Counter[int] = Counter()
        levels: Counter[int] = Counter()
        rows = db.execute("SELECT state, priority, length(payload) FROM entries WHERE upstream = ?", (ident,))
        for state, priority, size in rows:
            counts[state] += 1
            sizes[state] += size + OVERHEAD_BYTES
            if state == STORED[State.PENDING]:
                levels[priority] += 1
        pending, done, dead = (STORED[state] for state in (State.PENDING, State.DONE, State.DEAD))
        db.execute(
            "UPDATE upstreams SET pending = ?, dead = ?, done = ?, live_bytes = ?, done_bytes = ?, by_priority = ?,"
            " joined = 0 WHERE id = ?",
            (
                counts[pending],
                counts[dead],
                counts[done],
                sizes[pending] + sizes[dead],
                sizes[done],
                orjson.dumps(levels, option=orjson.OPT_NON_STR_KEYS).decode(),
                ident,
            ),
        )


def _recount_documents(db: sqlite3.Connection) -> None:
    """How many entries of the primary upstream wait for each document, or are dead."""
    db.execute("UPDATE documents SET pending = 0, dead = 0 WHERE pending OR dead")
    counted = [(*counts, ident) for ident, counts in _waiting(db).items()]
    db.executemany("UPDATE documents SET pending = ?, dead = ? WHERE id = ?", counted)


def _requeue(db: sqlite3.Connection, names: list[str]) -> None:
    """Queues, dead letters and batches, from the entries that are there."""
    batches = db.execute("SELECT id, upstream, position, attempts, members FROM batches").fetchall()
    holding = {entry for (entry,) in db.execute("SELECT entry FROM dead_letters WHERE holds = 1")}
    for table in ("batches", "dead_letters", "heads", "followers"):
        db.execute(f"DELETE FROM {table}")
    for ident, heads in db.execute("SELECT id, heads FROM entries WHERE state = 2").fetchall():
        letters = [(head, ident, int(ident in holding)) for head in decode_heads(heads)]
        db.executemany("INSERT OR IGNORE INTO dead_letters (head, entry, holds) VALUES (?, ?, ?)", letters)
    Outbox(db, names, str).join_all()
    live = {ident for (ident,) in db.execute("SELECT id FROM entries WHERE state = 0")}
    for ident, upstream, position, attempts, members in batches:
        # One of which nothing is left is kept all the same: upstream's cursor may stand at it.
        left = [member for member in orjson.loads(members) if member in live]
        live.difference_update(left)
        db.execute(
            "INSERT INTO batches (id, upstream, position, attempts, joined, members) VALUES (?, ?, ?, ?, 1, ?)",
            (ident, upstream, position, attempts, orjson.dumps(left).decode()),
        )


def named(paths: list[str]) -> str:
    """Paths for a message, the first of many."""
    shown = ", ".join(paths[:_NAMED_AT_MOST])
    return shown if len(paths) <= _NAMED_AT_MOST else f"{shown} and {len(paths) - _NAMED_AT_MOST} more"
