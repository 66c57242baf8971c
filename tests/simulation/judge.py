"""The judge: what must hold between any two groups of the store, and what must hold when all has come to rest."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson

from deora.outbox.heads import decode_heads
from deora.replay.coverage import Coverage
from deora.store.merging import replay_writes
from deora.store.service import Service
from deora.store.settlements import PRIMARY, _in_order
from deora.upstream.base import CursorKey
from tests.fakes.checker import Sent, check
from tests.fakes.recount import check_figures, inherited, queue_rows, queued_entries, stored_queue_rows
from tests.simulation.clients import History, check_counts
from tests.simulation.disk import EPOCH, NODE
from tests.simulation.network import Network, tokens_of
from tests.simulation.world import Violation

_DOCUMENTS = """SELECT collection || '/' || name, id, pending, dead, base_state, CAST(view AS BLOB), CAST(base AS BLOB)
  FROM documents"""
_ENTRIES = "SELECT id, state, heads, payload FROM entries WHERE upstream = 0 AND state <> 1 ORDER BY id"


def check_store(service: Service, db: sqlite3.Connection) -> None:
    """Between two groups: sums equal what they sum up, and each view is its base with what waits on top."""
    try:
        check_figures(db, service.outbox)
    except AssertionError as error:
        raise Violation(f"the queue's figures are not what a recount gives: {error}") from error
    _check_queues(db)
    _check_views(db, service.outbox.inflight_ids())


def _check_queues(db: sqlite3.Connection) -> None:
    """Each document's queue holds the entries that it must, in their order. (Urgency is judged by the unit tests.)"""
    expected, stored = queue_rows(db, inherited(queued_entries(db))), stored_queue_rows(db)
    for name, columns, ours, theirs in zip(
        ("heads", "followers"), ((0, 1, 2, 6, 7), (0, 1, 3)), expected, stored, strict=True
    ):
        if {tuple(row[i] for i in columns) for row in ours} != {tuple(row[i] for i in columns) for row in theirs}:
            raise Violation(f"{name} holds {sorted(theirs)}, and should hold {sorted(ours)}")


def _check_views(db: sqlite3.Connection, inflight: set[int]) -> None:
    unsettled: dict[int, list[tuple[int, int, bytes]]] = {}
    for ident, state, heads, payload in db.execute(_ENTRIES).fetchall():
        for head in decode_heads(heads):
            unsettled.setdefault(head // 4, []).append((ident, state, payload))
    for path, ident, pending, dead, base_state, view, base in db.execute(_DOCUMENTS).fetchall():
        rows = unsettled.get(ident, [])
        live = sum(state == 0 for _, state, _ in rows)
        if (pending, dead) != (live, len(rows) - live):
            raise Violation(f"{path} counts {pending} waiting and {dead} dead; there are {live} and {len(rows) - live}")
        check_counts(f"the view of {path}", orjson.loads(view) if view is not None else None)
        known = view if base_state == 1 else base
        worked_out = replay_writes(known, path, [one.payload for one in _in_order(rows, inflight)])
        # Behind a dead entry later ones go on: the view, in the order of acknowledgement, is only worked out again when
        # the dead one is decided on.
        if worked_out != view and not dead:
            raise Violation(f"the view of {path} is {view!r}; base and what waits give {worked_out!r}")


def check_end(
    db: sqlite3.Connection, networks: list[Network], history: History, *, replicated: bool, note: Callable[[str], None]
) -> None:
    """At rest: nothing lost, nothing doubled, nothing out of order, and both sides hold the same."""
    for network in networks:
        queued = _queued(db, network.name)
        findings = check(_as_told(history, network.name), network.applied(), queued)
        note(f"{network.name}: {findings}")
        if findings:
            raise Violation(f"{network.name}: {findings}")
        _check_cursor(db, network)
        for path, data in network.server.documents.items():
            check_counts(f"{network.name}'s {path}", orjson.loads(data))
    if not any(_queued(db, network.name) for network in networks):
        _check_same(db, networks[0], replicated=replicated)


def _as_told(history: History, upstream: str) -> list[Sent]:
    """The history, with what operators have decided for this upstream since."""
    told = []
    for sent in history.sent:
        outcome = history.dropped.get((upstream, sent.token))
        if outcome is not None:
            sent = replace(sent, outcome=outcome)
        told.append(replace(sent, commit=None) if sent.token in history.forced else sent)
    return told


def _queued(db: sqlite3.Connection, upstream: str) -> dict[str, list[str]]:
    rows = db.execute(
        "SELECT e.payload FROM entries AS e JOIN upstreams AS u ON u.id = e.upstream"
        " WHERE u.name = ? AND e.state <> 1 ORDER BY e.id",
        (upstream,),
    )
    tokens: dict[str, list[str]] = {}
    for (payload,) in rows.fetchall():
        for path, token in tokens_of(payload):
            tokens.setdefault(path, []).append(token)
    return tokens


def _check_cursor(db: sqlite3.Connection, network: Network) -> None:
    """Both sides agree on where the cursor is, and it covers exactly what was applied."""
    [(ident, seq)] = db.execute("SELECT id, seq FROM upstreams WHERE name = ?", (network.name,)).fetchall()
    cursor = network.server.cursors.get(CursorKey(NODE, EPOCH, 0))
    if (cursor.seq if cursor is not None else 0) != seq:
        raise Violation(f"{network.name}'s cursor is at {cursor}; the store believes {seq}")
    coverage = Coverage.decode(cursor.applied) if cursor is not None else Coverage()
    states: dict[int, int] = dict(
        db.execute("SELECT number, state FROM entries WHERE upstream = ?", (ident,)).fetchall()
    )
    wrong = [number for number, state in states.items() if coverage.covers(number) != (state == 1)]
    if wrong:
        raise Violation(f"{network.name}'s cursor is wrong on the entries {wrong}: {coverage}")


def _check_same(db: sqlite3.Connection, primary: Network, *, replicated: bool) -> None:
    """The box shows what the primary upstream holds: of what it writes alone always, of all where it replicates."""
    ours: dict[str, Any] = {path: view for path, _, _, _, _, view, _ in db.execute(_DOCUMENTS) if view is not None}
    theirs = primary.server.documents
    paths = {*ours, *theirs} if replicated else {path for path in {*ours, *theirs} if path.startswith("e/")}
    for path in sorted(paths):
        if ours.get(path) != theirs.get(path):
            raise Violation(f"the box shows {path} as {ours.get(path)!r}; {PRIMARY} holds {theirs.get(path)!r}")
