"""The queue: what waits, what is in flight, what is dead; and what an operator does about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import orjson

from deora.documents.paths import check_document_path, split
from deora.documents.values import decode_json
from deora.errors import Problem
from deora.outbox import listing
from deora.outbox.states import State
from deora.wire.frames import pack
from deora.worker.context import Answer, Commit, Context, Reply
from deora.worker.handlers.documents import check_parameters
from deora.worker.requests import Request

_PARAMETERS: Final = ("state", "upstream", "path", "limit", "cursor")
DEFAULT_LIMIT: Final = 100
MAX_LIMIT: Final = 1000
PAGE_BYTES: Final = 4 * 1024 * 1024
ROWS_AT_ONCE: Final = 200
MAX_ID: Final = 2**63 - 1


async def entries(context: Context, request: Request, argument: bytes) -> Reply:
    """GET of the queue's entries, oldest first."""
    asked = check_parameters(request, _PARAMETERS)
    inflight = listing.members(await context.reader.rows(listing.BATCHES))
    found, cursor = await page(context, asked, inflight, lambda row: listing.entry_json(row, inflight))
    return Answer(200, orjson.dumps({"entries": found, "cursor": cursor}))


async def page(
    context: Context, asked: dict[str, str], inflight: set[int], show: Callable[[Sequence[Any]], dict[str, Any]]
) -> tuple[list[dict[str, Any]], str | None]:
    """A page of the entries that were asked for, each as `show` makes it, and where the next page begins."""
    wanted = _states(asked.get("state"))
    limit = _whole_number(asked, "limit", DEFAULT_LIMIT, 1, MAX_LIMIT)
    after = _whole_number(asked, "cursor", 0, 0, MAX_ID)
    upstreams: dict[int, str] = dict(await context.reader.rows(listing.UPSTREAMS))
    if "upstream" in asked:
        upstreams = {ident: name for ident, name in upstreams.items() if name == asked["upstream"]}
        if not upstreams:
            raise Problem("bad-request", f"there is no upstream {asked['upstream'][:60]!r}")
    path = check_document_path(asked["path"]) if "path" in asked else None
    found: list[dict[str, Any]] = []
    size_bytes = 0
    last = 0
    statements = [each for ident in upstreams for each in _statements(ident, wanted, path, inflight)]
    async for row in _rows(context, statements, after):
        if listing.row_state(row, inflight) not in wanted:
            continue
        if len(found) == limit or size_bytes > PAGE_BYTES:
            return found, str(last)
        found.append(show(row))
        last = row[0]
        size_bytes += len(row[-1])
    return found, None


def _statements(upstream: int, wanted: set[State], path: str | None, inflight: set[int]) -> list[tuple[str, list[Any]]]:
    """Which statements find the rows, with the parameters that stand before the place and the size of a page."""
    if path is not None:
        return [(listing.OF_DOCUMENT, [*split(path), upstream])]
    if wanted == {State.INFLIGHT}:
        return [(listing.LIVE_OF, [orjson.dumps(sorted(inflight)), upstream])]
    live = [(listing.LIVE, [upstream])] if any(listing.is_live(state) for state in wanted) else []
    return live + ([(listing.DEAD, [upstream])] if State.DEAD in wanted else [])


async def _rows(context: Context, statements: list[tuple[str, list[Any]]], after: int) -> Any:
    """Rows by rising id, a page of the file at a time."""
    while True:
        rows: list[tuple[Any, ...]] = []
        whole_until = MAX_ID
        for sql, parameters in statements:
            part = await context.reader.rows_within(
                sql, (*parameters, after, ROWS_AT_ONCE), column=-1, max_bytes=PAGE_BYTES
            )
            rows += part
            if part.cut:
                whole_until = min(whole_until, part[-1][0])
        rows.sort(key=lambda row: row[0])
        rows = [row for row in rows[:ROWS_AT_ONCE] if row[0] <= whole_until]
        for row in rows:
            yield row
        if not rows:
            return
        after = rows[-1][0]


async def entry(context: Context, request: Request, argument: bytes) -> Reply:
    """GET of one entry."""
    check_parameters(request, ())
    ident = _entry_id(argument)
    inflight = listing.members(await context.reader.rows(listing.BATCHES))
    rows = await context.reader.rows(listing.ONE, (ident,))
    if not rows:
        raise Problem(
            "entry-not-found",
            f"the queue has no entry {ident}",
            hint="GET /v1/queue/entries lists them; done ones are pruned after retention_hours",
        )
    return Answer(200, orjson.dumps(listing.entry_json(rows[0], inflight)))


def retry(context: Context, request: Request, argument: bytes) -> Reply:
    """POST: a dead entry is sent once more."""
    check_parameters(request, ())
    body = decode_json(request.json_content()) if request.content else {}
    if not isinstance(body, dict) or not set(body) <= {"force"} or not isinstance(body.get("force", False), bool):
        raise Problem("bad-request", 'the body must be empty or {"force": true}')
    return Commit(pack(["retry", _entry_id(argument), body.get("force", False)]))


def drop(context: Context, request: Request, argument: bytes) -> Reply:
    """DELETE of a dead entry."""
    check_parameters(request, ())
    return Commit(pack(["drop", _entry_id(argument)]))


def retry_dead(context: Context, request: Request, argument: bytes) -> Reply:
    """POST: all dead entries are sent once more."""
    return Commit(pack(["retryDead", check_parameters(request, ("upstream",)).get("upstream")]))


def pause(context: Context, request: Request, argument: bytes) -> Reply:
    """POST: nothing is sent to any upstream until `resume`."""
    return Commit(pack(["pause", check_parameters(request, ("upstream",)).get("upstream"), True]))


def resume(context: Context, request: Request, argument: bytes) -> Reply:
    """POST: ends a pause."""
    return Commit(pack(["pause", check_parameters(request, ("upstream",)).get("upstream"), False]))


def _states(text: str | None) -> set[State]:
    if text is None:
        return set(listing.LISTED)
    for state in listing.LISTED:
        if state.value == text:
            return {state}
    allowed = ", ".join(state.value for state in listing.LISTED)
    raise Problem("bad-request", f"state={text[:60]!r}; allowed: {allowed}")


def _whole_number(parameters: dict[str, str], name: str, default: int, lowest: int, highest: int) -> int:
    text = parameters.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 19 or not lowest <= int(text) <= highest:
        raise Problem("bad-request", f"{name}={text[:60]!r}; a whole number from {lowest} to {highest} is allowed")
    return int(text)


def _entry_id(argument: bytes) -> int:
    if not argument.isdigit() or len(argument) > 18:
        raise Problem("bad-request", f"an entry's id is a whole number, not {argument.decode('latin-1')[:60]!r}")
    return int(argument)
