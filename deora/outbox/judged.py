"""Entries whose state is put right by what upstream's cursor covers, after a restore of it or of this store."""

from __future__ import annotations

from deora.outbox.figures import Upstream
from deora.outbox.heads import encode_heads
from deora.outbox.selection import Entry
from deora.outbox.statements import SQL
from deora.outbox.states import State
from deora.outbox.storage import OVERHEAD_BYTES, Outbox


def requeue(outbox: Outbox, upstream: Upstream, entry: Entry) -> None:
    """Puts a done entry back at its place: upstream lacks it. Its heads may be new ones."""
    outbox.database.execute(SQL["requeue"], (encode_heads(entry.heads), entry.id))
    outbox.queues.rejoin(entry.heads, upstream.id, entry.id, entry.priority)
    upstream.count(State.DONE, State.PENDING, entry.priority, _size_bytes(entry))


def found(outbox: Outbox, upstream: Upstream, entry: Entry, state: State, running_s: int) -> None:
    """Upstream turns out to have an entry that is pending (and in no batch) or dead: it is done."""
    if state is State.DEAD:
        outbox.database.execute(SQL["delete_dead_letters"], (entry.id,))
    else:
        _leave(outbox, upstream, entry)
    outbox.database.execute(SQL["found"], (running_s, entry.id))
    upstream.count(state, State.DONE, entry.priority, _size_bytes(entry))


def found_refused(outbox: Outbox, upstream: Upstream, entry: Entry, running_s: int, error: str, *, holds: bool) -> None:
    """Upstream turns out to have refused an entry that is pending (and in no batch): it is dead. `holds`: what is
    younger waits for it."""
    _leave(outbox, upstream, entry)
    outbox.database.execute(SQL["settle_dead"], (running_s, error, entry.id))
    letters = [(head, entry.id, int(holds)) for head in entry.heads]
    outbox.database.executemany(SQL["insert_dead_letter"], letters)
    upstream.count(State.PENDING, State.DEAD, entry.priority, _size_bytes(entry))


def _leave(outbox: Outbox, upstream: Upstream, entry: Entry) -> None:
    if entry.id > upstream.joined:
        upstream.tail -= 1
    else:
        outbox.queues.leave(entry.heads, entry.id)


def _size_bytes(entry: Entry) -> int:
    return len(entry.payload) + OVERHEAD_BYTES
