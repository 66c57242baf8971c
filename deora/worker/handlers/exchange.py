"""The queue on its way to another box: pages of an export, pages of an import."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from deora.documents.paths import split
from deora.documents.values import decode_json
from deora.documents.writes import encode_writes
from deora.errors import Problem
from deora.outbox import exchange, listing
from deora.outbox.exchange import Exported, Sender
from deora.wire.frames import pack
from deora.worker.context import Answer, Commit, Context, Reply
from deora.worker.handlers.documents import check_parameters
from deora.worker.handlers.queue import MAX_LIMIT, page
from deora.worker.requests import Request

_PARAMETERS: Final = ("state", "upstream", "limit", "cursor")
# What the store is told of each entry (see `store.imports`).
PENDING, DEAD, APPLIED = 0, 1, 2
REFUSED_THERE: Final = "upstream had refused this entry before its queue was taken over"

# Of [collection, name] pairs those that this box does not hold: no row, or one that only says that it was deleted.
_UNHELD: Final = """WITH wanted (c, n) AS (
    SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?))
  SELECT c || '/' || n FROM wanted LEFT JOIN documents AS d ON d.collection = c AND d.name = n
  WHERE (d.id IS NULL OR (d.view IS NULL AND d.pending = 0 AND d.dead = 0))
    AND c NOT IN (SELECT collection FROM replicas)"""
PRIMARY: Final = "primary"
# An operator waits longer than a client does, and each call makes up to three upstream.
LIMIT_S: Final = 25.0

Place = tuple[str, str, str]
"""(upstream, node, epoch)"""


async def export(context: Context, request: Request, argument: bytes) -> Reply:
    """GET of a page of the queue as another box can import it, with who this box is and where its cursors stand."""
    asked = check_parameters(request, _PARAMETERS)
    [(node, epoch)] = await context.reader.rows(exchange.IDENTITY)
    cursors = exchange.cursors_json(await context.reader.rows(exchange.CURSORS))
    inflight = listing.members(await context.reader.rows(listing.BATCHES))
    found, cursor = await page(context, asked, inflight, lambda row: exchange.entry_line(row, inflight, node, epoch))
    shown = {name: cursors[name] for name in cursors if asked.get("upstream", name) == name}
    answer = {"node": node, "epoch": epoch, "upstreams": shown, "entries": found, "cursor": cursor}
    return Answer(200, orjson.dumps(answer))


@dataclass(slots=True)
class _Decided:
    """What upstream has decided of the entries of a place."""

    numbers: list[int] = field(default_factory=list)
    applied: set[int] = field(default_factory=set)
    refused: set[int] = field(default_factory=set)


async def import_page(context: Context, request: Request, argument: bytes) -> Reply:
    """POST of a page of an export. The cursors of all that it brings are taken over first, then the documents that it
    builds on are adopted, then the store takes it."""
    check_parameters(request, ())
    sender, entries = _read(request)
    # The sender's own first, and one after the other: of two boxes that have the same file, one gets all of it.
    places = {(name, sender.node, sender.epoch): _Decided() for name in sorted(sender.cursors)}
    for entry in sorted(entries, key=_place):
        places.setdefault(_place(entry), _Decided()).numbers.append(entry.number)
    for place, decided in places.items():
        await _take_over(context, sender, place, decided)
    await _adopt(context, [entry for entry in entries if entry.number not in places[_place(entry)].applied])
    index = {place: number for number, place in enumerate(places)}
    packed = [_packed(entry, index[_place(entry)], places[_place(entry)]) for entry in entries]
    return Commit(pack(["import", [list(place) for place in places], packed]))


def _read(request: Request) -> tuple[Sender, list[Exported]]:
    body = decode_json(request.json_content())
    if type(body) is not dict or body.keys() != {"from", "entries"} or type(body["entries"]) is not list:
        raise Problem("bad-request", 'the body is {"from": {..}, "entries": [..]} and nothing else')
    if len(body["entries"]) > MAX_LIMIT:
        raise Problem("bad-request", f"a page has {len(body['entries'])} entries; at most {MAX_LIMIT} are allowed")
    entries = []
    for index, value in enumerate(body["entries"]):
        try:
            entries.append(exchange.read_entry(value))
        except Problem as problem:
            raise Problem(problem.kind, f"entries[{index}]: {problem.detail}", hint=problem.hint) from None
    return exchange.read_sender(body["from"]), entries


def _place(entry: Exported) -> Place:
    return entry.upstream, entry.node, entry.epoch


async def _take_over(context: Context, sender: Sender, place: Place, decided: _Decided) -> None:
    """Has the replayer put this box's marker into a cursor. Raises Problem."""
    upstream, node, epoch = place
    is_senders = (node, epoch) == (sender.node, sender.epoch)
    seq = sender.cursors.get(upstream, 0) if is_senders else 0
    asked = [upstream, node, epoch, seq, f"{sender.node}.{sender.epoch}"]
    applied, refused = await context.reads.ask("takeOver", asked, decided.numbers, limit_s=LIMIT_S)
    decided.applied.update(applied)
    decided.refused.update(refused)


async def _adopt(context: Context, entries: list[Exported]) -> None:
    """Has the store hold the documents that these entries build on: whose first write here is an update, or is for
    another upstream than the primary one, whose copies the views are made of. Raises Problem."""
    builds_on: dict[str, bool] = {}
    for entry in entries:
        for write in entry.writes:
            builds_on.setdefault(write.path, write.op == "update" or entry.upstream != PRIMARY)
    wanted = [split(path) for path, builds in builds_on.items() if builds]
    unheld = [path for (path,) in await context.reader.rows(_UNHELD, (orjson.dumps(wanted),))] if wanted else []
    if unheld:
        await context.reads.ask("adoptReadable", unheld, limit_s=LIMIT_S)


def _packed(entry: Exported, source: int, decided: _Decided) -> list[Any]:
    """An entry for the store. What upstream has refused is dead here too: its source may have retried it since."""
    dead, error = entry.dead, entry.error
    if entry.number in decided.refused and not dead:
        dead, error = True, error or REFUSED_THERE
    fate = APPLIED if entry.number in decided.applied else DEAD if dead else PENDING
    payload = encode_writes(entry.writes)
    return [source, fate, entry.number, entry.priority, entry.created_us, entry.commit, entry.attempts, error, payload]
