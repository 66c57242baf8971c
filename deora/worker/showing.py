"""Documents as JSON text, without decoding them: the stored text is copied into its frame."""

from __future__ import annotations

import orjson

from deora.documents.values import timestamp_text


def document_json(path: str, version: str, created_us: int, updated_us: int, pending: int, view: bytes) -> bytes:
    """A document as a read shows it."""
    return b'{"path":%b,"version":"%b","createTime":"%b","updateTime":"%b","pending":%b,"data":%b}' % (
        orjson.dumps(path),
        version.encode(),
        timestamp_text(created_us).encode(),
        timestamp_text(updated_us).encode(),
        b"true" if pending else b"false",
        view,
    )
