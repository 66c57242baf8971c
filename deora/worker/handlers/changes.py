"""GET of the changes: where a stream begins."""

from __future__ import annotations

from deora.documents.paths import check_collection_path
from deora.documents.positions import Position, parse_commit, parse_event_id
from deora.errors import Problem
from deora.worker.change_log import read_head
from deora.worker.context import Context, Reply, Stream
from deora.worker.events import place_event, resync_event
from deora.worker.handlers.documents import check_parameters
from deora.worker.requests import Request

_PARAMETERS = ("collections", "since")


async def changes(context: Context, request: Request, argument: bytes) -> Reply:
    """A stream from `Last-Event-ID`, `since`, or now on. Its place is settled before the client hears that it is open,
    so that it shows whatever is written from then on."""
    asked = check_parameters(request, _PARAMETERS)
    collections = _collections(asked.get("collections"))
    last_id = request.fields.get(b"last-event-id", b"").decode("latin-1")
    wanted = parse_event_id(last_id or asked.get("since", ""))
    if wanted is None and not last_id and "since" in asked:
        position = parse_commit(asked["since"])
        if position is None:
            raise Problem(
                "bad-request",
                f"since={asked['since'][:60]!r}; the number of a commit or the id of an event is allowed",
                hint="leave it out to be told of what comes from now on",
            )
        wanted = "", position
    head = await read_head(context.reader)
    start = Position(head.commit)
    if wanted is None and not last_id:
        event_id = start.event_id(head.epoch)
        return Stream(collections, event_id, place_event(event_id))
    reason = "unknown"
    if wanted is not None:
        epoch, position = wanted
        reason = head.missed(epoch or head.epoch, position)
        if not reason:
            event_id = position.event_id(head.epoch)
            return Stream(collections, event_id, place_event(event_id))
    return Stream(collections, start.event_id(head.epoch), resync_event(head.epoch, start, reason))


def _collections(text: str | None) -> list[str] | None:
    if text is None:
        return None
    return sorted({check_collection_path(name) for name in text.split(",")})
