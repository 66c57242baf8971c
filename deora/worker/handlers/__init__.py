"""The handlers of a worker, by the names that the router uses."""

from __future__ import annotations

from typing import Final

from deora.worker.context import Handler
from deora.worker.handlers import changes, documents, exchange, queries, queue

HANDLERS: Final[dict[str, Handler]] = {
    "read": documents.read,
    "set": documents.set_document,
    "update": documents.update,
    "delete": documents.delete,
    "create": documents.create,
    "commit": documents.commit,
    "list": queries.list_documents,
    "batch_get": queries.batch_get,
    "changes": changes.changes,
    "entries": queue.entries,
    "entry": queue.entry,
    "retry": queue.retry,
    "drop": queue.drop,
    "retry_dead": queue.retry_dead,
    "pause": queue.pause,
    "resume": queue.resume,
    "export": exchange.export,
    "import": exchange.import_page,
}
