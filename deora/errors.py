"""Every error that DEORA raises on purpose: one root, and for each a hint that says what to do next.

Two families matter:

* `DeoraError` and its kin end a command or a process. The command line prints message and hint, never a stack trace.
* `Problem` refuses one request. It becomes an `application/problem+json` answer (RFC 9457) and travels between
  processes as a small list, so the process that finds the fault need not be the one that answers.
"""

from __future__ import annotations

from typing import Any, Final


class DeoraError(Exception):
    """Root of all. `retryable` says whether the same attempt may succeed later without anybody's hand."""

    retryable = False

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    @property
    def told(self) -> str:
        """The message with its hint behind it."""
        return f"{self.message} ({self.hint})" if self.hint is not None else self.message


class ConfigError(DeoraError):
    """The configuration is wrong. `problems` holds all of its faults, one line each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("the configuration is wrong:\n" + "\n".join(f"  - {problem}" for problem in problems))
        self.problems = problems


class StartError(DeoraError):
    """The instance cannot start: the address is taken, the data directory is not ours, another one runs."""


class NotRunningError(DeoraError):
    """No instance answers for this data directory."""


class StoreError(DeoraError):
    """The store cannot go on with its file: of a newer version, damaged, not readable."""


class FrameError(DeoraError):
    """A peer process sent bytes that are no frame."""


PROBLEMS: Final[dict[str, tuple[int, str]]] = {
    # kind: (HTTP status, title)
    "bad-request": (400, "The request is malformed"),
    "invalid-json": (400, "The body is not valid JSON"),
    "invalid-path": (400, "The document or collection path is not valid"),
    "invalid-document": (400, "The document is not valid"),
    "invalid-update": (400, "The update is not valid"),
    "invalid-query": (400, "The query is not valid"),
    "invalid-commit": (400, "The commit is not valid"),
    "invalid-header": (400, "A request header is not valid"),
    "unauthorized": (401, "A valid token is required"),
    "forbidden": (403, "The token does not allow this"),
    "not-found": (404, "There is nothing at this address"),
    "document-not-found": (404, "The document does not exist"),
    "entry-not-found": (404, "There is no such queue entry"),
    "method-not-allowed": (405, "The method is not allowed here"),
    "request-timeout": (408, "The request did not come in time"),
    "already-exists": (409, "The document exists already"),
    "conflict": (409, "The request conflicts with the present state"),
    "wrong-configuration": (409, "The configuration cannot be taken over"),
    "precondition-failed": (412, "A precondition does not hold"),
    "too-large": (413, "The content is too large"),
    "target-too-long": (414, "The request target is too long"),
    "unsupported-media-type": (415, "The body must be JSON"),
    "key-reused": (422, "The idempotency key was used for another request"),
    "too-many-requests": (429, "Too many requests came from this address"),
    "headers-too-large": (431, "The request headers are too large"),
    "internal": (500, "DEORA failed to handle the request"),
    "worker-lost": (502, "The request ended the workers that took it"),
    "unavailable": (503, "The service cannot answer now"),
    "queue-full": (507, "The queue is full"),
    "disk-full": (507, "The disk is full"),
}


class Problem(DeoraError):
    """A refusal of one request.

    `kind` is a key of PROBLEMS and ends the problem's `type`; `detail` says what was found and what is allowed;
    `hint` what to do. `retry_after_s` becomes `Retry-After`; `fields` are extra members of the answer.
    """

    def __init__(
        self,
        kind: str,
        detail: str,
        *,
        hint: str | None = None,
        retry_after_s: int | None = None,
        fields: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(detail, hint=hint)
        self.kind = kind
        self.detail = detail
        self.retry_after_s = retry_after_s
        self.fields = fields or {}

    @property
    def status(self) -> int:
        """The HTTP status of this refusal."""
        return PROBLEMS[self.kind][0]

    def document(self) -> dict[str, Any]:
        """The members of the problem+json answer (RFC 9457, section 3)."""
        status, title = PROBLEMS[self.kind]
        members: dict[str, Any] = {
            "type": f"urn:deora:problem:{self.kind}",
            "title": title,
            "status": status,
            "detail": self.detail,
        }
        if self.hint is not None:
            members["hint"] = self.hint
        return {**members, **self.fields}

    @classmethod
    def out_of_reach(cls, detail: str, retry_after_s: int, *, hint: str | None = None) -> Problem:
        """The refusal of what needs an upstream while none answers."""
        fields = {"error": PROBLEMS["unavailable"][1], "message": detail, "retryAfter": retry_after_s}
        return cls("unavailable", detail, hint=hint, retry_after_s=retry_after_s, fields=fields)

    @classmethod
    def internal(cls, request_id: str) -> Problem:
        """A fault of ours: the client learns the request's id, the log the rest."""
        return cls(
            "internal",
            "a fault in DEORA; nothing was written",
            hint="the log has more under this request's id",
            fields={"requestId": request_id},
        )

    def to_wire(self) -> list[Any]:
        """This refusal as a list of plain values, for a frame; `from_wire` reads it back."""
        return [self.kind, self.detail, self.hint, self.retry_after_s, self.fields]

    @classmethod
    def from_wire(cls, parts: list[Any]) -> Problem:
        """The refusal that `to_wire` packed."""
        kind, detail, hint, retry_after_s, fields = parts
        return cls(kind, detail, hint=hint, retry_after_s=retry_after_s, fields=fields)
