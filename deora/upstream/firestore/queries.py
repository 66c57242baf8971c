"""The bodies of reads, and what their answers hold. Pure.

Every read that must agree with the cursor runs in one read-only transaction: the call that reads the cursor begins it
(`newTransaction`), the next one names it. All of it is then of one moment, and it holds up no write. It is never ended
by us: Firestore drops it after 60 s of silence.

Firestore cannot be asked what changed since a moment (`updateTime` is no field). But each document of an answer carries
its `updateTime`, also where no field was asked for. So changes are found by listing a collection's names alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from deora.upstream.base import Copy
from deora.upstream.firestore.values import Json, decode_document, path_of, timestamp

_BY_NAME: Final = [{"field": {"fieldPath": "__name__"}, "direction": "ASCENDING"}]
_NAMES_ONLY: Final = {"fields": [{"fieldPath": "__name__"}]}
_READ_ONLY: Final[Json] = {"readOnly": {}}

BEGIN: Final[Json] = {"options": _READ_ONLY}
"""The body of `:beginTransaction`."""


def batch_get(
    paths: Iterable[str], root: str, *, transaction: str | None = None, begin: bool = False, mask: Iterable[str] = ()
) -> Json:
    """The body of `:batchGet`: these documents, each once; with `mask` these fields of them alone."""
    body: Json = {"documents": [f"{root}/{path}" for path in dict.fromkeys(paths)]}
    if transaction is not None:
        body["transaction"] = transaction
    if begin:
        body["newTransaction"] = _READ_ONLY
    fields = list(mask)
    if fields:
        body["mask"] = {"fieldPaths": fields}
    return body


def run_query(
    collection: str, root: str, after: str | None, limit: int, *, names: bool = False, transaction: str | None = None
) -> Json:
    """The body of `:runQuery`: up to `limit` documents of a collection by id, behind the document path `after`."""
    query: Json = {"from": [{"collectionId": collection.rpartition("/")[2]}], "orderBy": _BY_NAME, "limit": limit}
    if names:
        query["select"] = _NAMES_ONLY
    if after is not None:
        query["startAt"] = {"values": [{"referenceValue": f"{root}/{after}"}], "before": False}
    body: Json = {"structuredQuery": query}
    if transaction is not None:
        body["transaction"] = transaction
    return body


def transaction_of(answer: list[Json]) -> str:
    """The transaction that this read began. Raises LookupError where it began none."""
    begun: list[str] = [part["transaction"] for part in answer if part.get("transaction")]
    return begun[0]


def found_documents(answer: list[Json], root: str) -> dict[str, Json | None]:
    """Path -> document of a `:batchGet`'s answer, None where there is none. Answers come in any order."""
    found: dict[str, Json | None] = {}
    for part in answer:
        if "found" in part:
            found[path_of(part["found"]["name"], root)] = part["found"]
        elif "missing" in part:
            found[path_of(part["missing"], root)] = None
    return found


def listed_documents(answer: list[Json]) -> list[Json]:
    """The documents of a `:runQuery`'s answer, in order. Raises ValueError, LookupError or TypeError for others."""
    documents: list[Json] = [part["document"] for part in answer if "document" in part]
    for document in documents:
        if not isinstance(document["name"], str) or not isinstance(document["updateTime"], str):
            raise ValueError("a document without name and time")
    return documents


def mark_of(document: Json, root: str) -> str:
    """The mark of a document's last change: its `updateTime`, and its path, so that no two of a commit are alike."""
    return f"{timestamp(document['updateTime'])} {path_of(document['name'], root)}"


def copy_of(path: str, document: Any, root: str) -> Copy:
    """A document of an answer as a copy; None is one that does not exist."""
    if document is None:
        return Copy(path, None, "")
    return Copy(path, decode_document(document.get("fields", {}), root), mark_of(document, root))
