"""The queue as operators read it: entries to JSON. Pure but for the SQL text, which any reading connection may run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import orjson

from deora.documents.fields import format_field_path
from deora.documents.values import timestamp_text
from deora.documents.writes import Write, decode_writes
from deora.outbox.states import STORED, State, state_of

COLUMNS: Final = """e.id, e.state, u.name, e.priority, e.created_us, e.attempts, e.error, e.commit_no, e.number,
  o.node, o.epoch, e.payload
  FROM entries AS e JOIN upstreams AS u ON u.id = e.upstream LEFT JOIN origins AS o ON o.id = e.origin"""

BATCHES: Final = "SELECT members FROM batches"
UPSTREAMS: Final = "SELECT id, name FROM upstreams"
ONE: Final = f"SELECT {COLUMNS} WHERE e.id = ?"
LIVE: Final = f"SELECT {COLUMNS} WHERE e.upstream = ? AND e.state = 0 AND e.id > ? ORDER BY e.id LIMIT ?"
DEAD: Final = f"SELECT {COLUMNS} WHERE e.upstream = ? AND e.state = 2 AND e.id > ? ORDER BY e.id LIMIT ?"

# Those of a JSON list of ids that are live: the unary plus keeps SQLite from walking the queue for them.
LIVE_OF: Final = f"""SELECT {COLUMNS} WHERE e.id IN (SELECT value FROM json_each(?)) AND +e.upstream = ?
  AND +e.state = 0 AND e.id > ? ORDER BY e.id LIMIT ?"""

# The entries of one document (?1/?2) for one upstream (?3): those in its queue, its dead ones, and those of the tail
# and of batches that were taken from it. Only these last are looked into.
OF_DOCUMENT: Final = f"""WITH queue (id) AS (
    SELECT 4 * id + ?3 FROM documents WHERE collection = ?1 AND name = ?2),
  unqueued (id, heads) AS (
    SELECT id, heads FROM entries INDEXED BY entries_live
      WHERE upstream = ?3 AND state = 0 AND id > (SELECT joined FROM upstreams WHERE id = ?3)
    UNION ALL SELECT entries.id, heads FROM batches, json_each(members) AS m JOIN entries ON entries.id = m.value
      WHERE batches.joined = 0 AND state = 0)
  SELECT {COLUMNS} WHERE e.id > ?4 AND e.id IN (
    SELECT first FROM heads WHERE id = (SELECT id FROM queue)
    UNION SELECT entry FROM followers WHERE head = (SELECT id FROM queue)
    UNION SELECT entry FROM dead_letters WHERE head = (SELECT id FROM queue)
    UNION SELECT unqueued.id FROM unqueued JOIN json_each(unqueued.heads) AS h ON h.value = (SELECT id FROM queue))
  ORDER BY e.id LIMIT ?5"""

LISTED: Final = (State.PENDING, State.INFLIGHT, State.DEAD)
"""The states that a listing knows; done entries are shown one by one, by id, until they are pruned."""


def stored_state(row: Sequence[Any]) -> int:
    """`entries.state` of a row of the statements above."""
    number: int = row[1]
    return number


def members(rows: Sequence[Sequence[Any]]) -> set[int]:
    """The entries that are inflight, from the rows of BATCHES."""
    return {ident for row in rows for ident in orjson.loads(row[0])}


def row_state(row: Sequence[Any], inflight: set[int]) -> State:
    """The state of a row of the statements above."""
    return state_of(stored_state(row), row[0] in inflight)


def is_live(state: State) -> bool:
    """Whether entries of this state are stored as live."""
    return STORED[state] == STORED[State.PENDING]


def entry_json(row: Sequence[Any], inflight: set[int]) -> dict[str, Any]:
    """An entry as `GET /v1/queue/entries` shows it, with its commit; one that was taken over also says from whom."""
    ident, _, upstream, priority, created_us, attempts, error, commit_no, number, node, epoch, payload = row
    shown = {
        "id": ident,
        "state": row_state(row, inflight).value,
        "upstream": upstream,
        "priority": priority,
        "created": timestamp_text(created_us),
        "commit": commit_no,
        "writes": [write_json(write) for write in decode_writes(payload)],
        "attempts": attempts,
        "error": error,
    }
    if node is not None:
        shown["origin"] = {"node": node, "epoch": epoch, "number": number}
    return shown


def write_json(write: Write) -> dict[str, Any]:
    """A write in the form of `POST /v1/documents:commit`; an update shows its operators as they will be sent."""
    members: dict[str, Any] = {"path": write.path}
    if write.op == "update":
        members["data"] = update_json(write.data or b"[]")
        if write.upsert:
            members["upsert"] = True
    elif write.data is not None:
        members["data"] = orjson.Fragment(write.data)
    return {write.op: members}


def update_json(data: bytes) -> dict[str, Any]:
    """The flat object of a PATCH, from its packed form."""
    shown: dict[str, Any] = {}
    for segments, operator, operand in orjson.loads(data):
        name = format_field_path(segments)
        if operator == "value":
            shown[name] = operand
        elif operator in ("delete", "serverTimestamp"):
            shown[name] = {f"${operator}": True}
        else:
            shown[name] = {f"${operator}": operand}
    return shown
