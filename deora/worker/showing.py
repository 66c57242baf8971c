"""Documents as reads show them. Their JSON is never decoded: the stored text is copied into its frame."""

from __future__ import annotations

from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class Shown:
    """A document as its JSON and its version: what the memory cache holds.

    From `due_s` on it is looked at again. `source` is where a copy came from, `store`, `cache` or `upstream`; empty for
    what this box is sure of. `confirmed_s`: when upstream last confirmed it, where its age is to be shown. Both by the
    loop's clock.
    """

    version: str
    content: bytes
    due_s: float
    source: bytes = b""
    confirmed_s: float | None = None

    def headers(self, now_s: float) -> bytes:
        """The header lines of an answer with it."""
        lines = b'ETag: "%b"\r\n' % self.version.encode()
        if self.source:
            lines += b"X-Deora-Source: %b\r\n" % self.source
        age_s = self.age_s(now_s)
        if age_s is not None:
            lines += b"Age: %d\r\n" % age_s
        return lines

    def age_s(self, now_s: float) -> int | None:
        """Whole seconds since upstream last confirmed it; None where that need not be shown."""
        return max(0, int(now_s - self.confirmed_s)) if self.confirmed_s is not None else None
