"""One document: read it, or return the writes that change it."""

from __future__ import annotations

from collections.abc import Awaitable

from deora.documents.paths import check_collection_path, check_document_path, generate_id, split
from deora.documents.writes import Write, parse_commit, parse_create, parse_delete, parse_set, parse_update
from deora.errors import Problem
from deora.wire import keys
from deora.wire.frames import pack
from deora.worker.context import DEFAULT_PRIORITY, Answer, Commit, Context, Reply
from deora.worker.requests import Request, decode_path
from deora.worker.showing import Shown


def read(context: Context, request: Request, argument: bytes) -> Reply | Awaitable[Reply]:
    """GET of a document: from memory where it is there, else from wherever it can be had."""
    path = check_document_path(decode_path(argument))
    if request.query:
        check_parameters(request, ())
    now_s = context.now_s()
    shown = context.memory.get(path, now_s)
    if shown is not None and now_s < shown.due_s:
        return _answer(request, shown, now_s)
    return _read_through(context, request, path)


async def _read_through(context: Context, request: Request, path: str) -> Reply:
    shown = await context.reads.document(path)
    return _answer(request, shown, context.now_s())


def _answer(request: Request, shown: Shown, now_s: float) -> Answer:
    headers = shown.headers(now_s)
    if b"if-none-match" in request.fields:
        tags = request.if_none_match()
        if shown.version in tags or "*" in tags:
            return Answer(304, b"", headers)
    return Answer(200, shown.content, headers)


def set_document(context: Context, request: Request, argument: bytes) -> Reply:
    """PUT of a document."""
    check_parameters(request, ())
    path = decode_path(argument)
    tags = request.if_none_match()
    if tags and tags != ["*"]:
        raise Problem(
            "invalid-header", "a write takes If-None-Match: * and nothing else", hint="If-Match guards a version"
        )
    write = parse_set(path, request.json_content(), if_version=request.if_match(), if_absent=bool(tags))
    return _commit(context, request, [write], single=True)


def update(context: Context, request: Request, argument: bytes) -> Reply:
    """PATCH of a document."""
    _check_guards(request, b"if-match")
    upsert = _flag(check_parameters(request, ("upsert",)), "upsert")
    write = parse_update(decode_path(argument), request.json_content(), upsert, if_version=request.if_match())
    return _commit(context, request, [write], single=True)


def delete(context: Context, request: Request, argument: bytes) -> Reply:
    """DELETE of a document."""
    _check_guards(request, b"if-match")
    check_parameters(request, ())
    write = parse_delete(decode_path(argument), if_version=request.if_match())
    return _commit(context, request, [write], single=True)


def create(context: Context, request: Request, argument: bytes) -> Reply:
    """POST to a collection. The generated id is the same at every attempt, since its seed is."""
    _check_guards(request)
    collection = check_collection_path(decode_path(argument))
    name = check_parameters(request, ("id",)).get("id")
    if name is None:
        name = generate_id(request.seed)
    elif "/" in name:
        raise Problem("invalid-path", "an id cannot hold a slash")
    write = parse_create(f"{collection}/{name}", request.json_content())
    return _commit(context, request, [write], single=True)


def commit(context: Context, request: Request, argument: bytes) -> Reply:
    """POST of a commit: 1 to 500 writes, all or nothing."""
    _check_guards(request)
    check_parameters(request, ())
    return _commit(context, request, parse_commit(request.json_content()), single=False)


def _check_guards(request: Request, *allowed: bytes) -> None:
    """Refuses a guard that this call does not have: to ignore it would be to write where the client said not to."""
    for name in (b"if-match", b"if-none-match"):
        if name in request.fields and name not in allowed:
            raise Problem(
                "invalid-header",
                f"this call takes no {name.decode()}",
                hint="If-Match guards PUT, PATCH and DELETE, If-None-Match: * a PUT, and ifVersion a write of a commit",
            )


def _commit(context: Context, request: Request, writes: list[Write], *, single: bool) -> Commit:
    for check in context.checks:
        check(writes)
    wait_s, representation = request.preferences()
    priority = request.priority()
    if priority is None:
        priority = _configured_priority(context, writes)
    key = request.idempotency_key()
    body = [
        "write",
        *_kept_as(request, key),
        priority,
        pack([write.to_wire() for write in writes]),
        single,
        representation,
    ]
    repeated = keys.request_of(key) if key is not None else None
    if repeated is not None:
        body += (repeated, _identity(request))
    return Commit(pack(body), wait_s)


def _configured_priority(context: Context, writes: list[Write]) -> int:
    """The highest of the collections that are written to."""
    if not context.priorities:
        return DEFAULT_PRIORITY
    return max(context.priority_of(split(write.path)[0]) for write in writes)


def _kept_as(request: Request, key: bytes | None) -> tuple[bytes | None, bytes]:
    """What the store keeps the answer under, and what a request that asks for it must share with this one."""
    if key is None:
        return None, _identity(request)
    scoped = keys.scoped_key(request.fields, request.method, request.path, request.query, key)
    return scoped, keys.fingerprint(request.fields, request.content)


def _identity(request: Request) -> bytes:
    return keys.identity(request.fields, request.method, request.path, request.query, request.content)


def check_parameters(request: Request, allowed: tuple[str, ...]) -> dict[str, str]:
    """The query's parameters, each allowed and at most once."""
    if not request.query:
        return {}
    found: dict[str, str] = {}
    for name, value in request.parameters():
        if name not in allowed or name in found:
            listed = ", ".join(allowed) or "none"
            raise Problem(
                "bad-request", f"the parameter {name[:60]!r} is not allowed here, or stands twice; allowed: {listed}"
            )
        found[name] = value
    return found


def _flag(parameters: dict[str, str], name: str) -> bool:
    value = parameters.get(name, "false")
    if value not in ("true", "false"):
        raise Problem("bad-request", f"{name}={value[:60]!r}; true or false are allowed")
    return value == "true"
