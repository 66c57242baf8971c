"""Many documents: lists by query, and reads by path."""

from __future__ import annotations

from typing import Any, Final

import orjson

from deora.documents.paths import check_document_path, split
from deora.documents.query import compile_query, encode_cursor, parse_query
from deora.documents.values import decode_json
from deora.errors import Problem
from deora.worker.context import Answer, Context, Reply
from deora.worker.handlers.documents import check_parameters
from deora.worker.requests import Request, decode_path
from deora.worker.showing import document_json

MAX_PATHS: Final = 500

# A page ends here even where `limit` asks for more, so that one answer cannot fill the memory of three processes.
PAGE_BYTES: Final = 4 * 1024 * 1024
BATCH_BYTES: Final = 16 * 1024 * 1024

_COLUMNS: Final = "documents.collection, name, version, created_us, updated_us, pending, CAST(view AS BLOB)"
_BY_PATH: Final = f"""SELECT {_COLUMNS} FROM json_each(?) AS wanted
  CROSS JOIN documents ON documents.collection = json_extract(wanted.value, '$[0]')
    AND name = json_extract(wanted.value, '$[1]')
  WHERE view IS NOT NULL"""


async def list_documents(context: Context, request: Request, argument: bytes) -> Reply:
    """GET of a collection."""
    query = parse_query(decode_path(argument), request.parameters())
    sql, parameters = compile_query(query)
    rows = await context.reader.rows_within(sql, parameters, column=5, max_bytes=PAGE_BYTES)
    has_more = len(rows) > query.limit or rows.cut
    shown = rows[: query.limit]
    documents = [
        document_json(f"{query.collection}/{name}", version, created_us, updated_us, pending, _bytes(view))
        for name, version, created_us, updated_us, pending, view, *_ in shown
    ]
    cursor = orjson.dumps(encode_cursor(query, shown[-1]) if has_more and shown else None)
    return Answer(200, b'{"documents":[%b],"cursor":%b}' % (b",".join(documents), cursor))


async def batch_get(context: Context, request: Request, argument: bytes) -> Reply:
    """POST of paths: the documents that exist, those that this box holds in one snapshot, and the paths of those that
    do not; where upstream is out, the ages of copies in seconds, and the paths of those of which nothing is known."""
    check_parameters(request, ())
    paths = _paths(decode_json(request.json_content()))
    rows = await context.reader.rows_within(
        _BY_PATH, (orjson.dumps([split(path) for path in paths]).decode(),), column=6, max_bytes=BATCH_BYTES
    )
    if rows.cut:
        raise Problem(
            "too-large", f"the documents have more than {BATCH_BYTES} bytes together", hint="ask for fewer at once"
        )
    found = {(path := f"{row[0]}/{row[1]}"): document_json(path, *row[2:]) for row in rows}
    fetched, unknown = await context.reads.unheld([path for path in paths if path not in found])
    found |= {path: shown.content for path, shown in fetched.items()}
    now_s = context.now_s()
    ages = {path: age_s for path, shown in fetched.items() if (age_s := shown.age_s(now_s)) is not None}
    documents = [found[path] for path in paths if path in found]
    missing = orjson.dumps([path for path in paths if path not in found and path not in unknown])
    content = b'{"documents":[%b],"missing":%b' % (b",".join(documents), missing)
    if ages:
        content += b',"ages":%b' % orjson.dumps(ages)
    if unknown:
        content += b',"unknown":%b' % orjson.dumps(unknown)
    return Answer(200, content + b"}")


def _paths(body: Any) -> list[str]:
    if not isinstance(body, dict) or set(body) != {"paths"} or not isinstance(body["paths"], list):
        raise Problem("bad-request", 'the body must be {"paths": ["collection/id", ..]}')
    paths = body["paths"]
    if not 1 <= len(paths) <= MAX_PATHS:
        raise Problem("bad-request", f"there are {len(paths)} paths; 1 to {MAX_PATHS} are allowed")
    for path in paths:
        if not isinstance(path, str):
            raise Problem("bad-request", "each path must be a string")
        check_document_path(path)
    return list(dict.fromkeys(paths))


def _bytes(view: str | bytes) -> bytes:
    return view.encode() if isinstance(view, str) else view
