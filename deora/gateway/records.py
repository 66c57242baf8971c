"""What is written down of a request once it is answered: the access log, and the audit log of operators' changes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from deora.gateway.access import Scope
from deora.gateway.requests import Request, target
from deora.observe.access import AccessLog
from deora.observe.logs import AUDIT

_audit = logging.getLogger(AUDIT)

AUDITED: Final = (b"/admin/", b"/v1/queue")
"""Where the targets of administration begin. Writes of documents are not audited: the queue has each of them."""
READS: Final = frozenset({b"GET", b"OPTIONS"})
MOST_OF_A_RESULT: Final = 1000


class Records:
    """`access` is the access log; None where none is kept."""

    def __init__(self, access: AccessLog | None = None) -> None:
        self.note: Callable[[Request, int, int, float], None] | None = None
        self.keep(access)

    def keep(self, access: AccessLog | None) -> None:
        """Writes to this access log from now on; the former one is its maker's to close."""
        self.access = access
        self.note = None
        if access is not None:
            self._add = access.add
            self.note = self._note

    def _note(self, request: Request, status: int, size_bytes: int, now_s: float) -> None:
        incoming = request.incoming
        self._add(
            (
                now_s,
                request.started_s,
                request.request_id,
                request.id,
                incoming.method,
                incoming.target,
                status,
                size_bytes,
                incoming.address,
                request.slot,
                incoming.fields.get(b"token", b""),
                request.commit_no,
            )
        )


def audit(request: Request, status: int, answer: bytes) -> None:
    """Writes down what an operator's request has changed, or would have. One that proves no right to ask is none."""
    incoming = request.incoming
    if incoming.method in READS or not incoming.target.startswith(AUDITED) or incoming.scope == Scope.NONE:
        return
    content = answer.partition(b"\r\n\r\n")[2]
    _audit.info(
        "%s",
        target(request),
        extra={
            "requestId": request.request_id.decode("latin-1"),
            "token": incoming.fields.get(b"token", b"").decode() or None,
            "client": incoming.address,
            "status": status,
            "result": content[:MOST_OF_A_RESULT].decode("utf-8", "replace"),
        },
    )
