"""What a request may look like, beyond what the HTTP parser itself refuses. Pure.

httptools (llhttp) refuses bare LF, obs-fold, spaces before a colon, control bytes, Content-Length beside
Transfer-Encoding, and more; what it lets through and RFC 9110 and 9112 forbid is checked here.
"""

from __future__ import annotations

from typing import Final

from deora.errors import Problem

FORWARDED: Final = frozenset(
    {
        b"if-match",
        b"if-none-match",
        b"prefer",
        b"idempotency-key",
        b"x-deora-priority",
        b"content-type",
        b"x-request-id",
        b"last-event-id",
    }
)
"""The header fields that a worker reads; all others stay in the gateway."""

LISTS: Final = frozenset({b"prefer"})
"""Those of them that may stand more than once, which means the same as a list (RFC 9110, 5.3)."""

METHODS: Final = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE"})


def check_target(target: bytes, limit_bytes: int) -> None:
    """Refuses a request target that is too long or not in origin form (RFC 9112, 3.2.1)."""
    if len(target) > limit_bytes:
        raise Problem(
            "target-too-long",
            f"the request target has {len(target)} bytes; {limit_bytes} are allowed",
            hint="POST /v1/documents:batchGet takes many paths in its body",
        )
    if not target.startswith(b"/") or b"#" in target:
        raise Problem("bad-request", "the request target must be a path, such as /v1/documents/orders/o1")


def check_version(version: str, hosts: int, *, chunked: bool) -> None:
    """Refuses versions but 1.1 and 1.0, a coding in 1.0, and more or less than one Host (RFC 9112, 3.2 and 6.1)."""
    if version == "1.1":
        if hosts != 1:
            raise Problem("bad-request", f"the request has {hosts} Host headers; exactly one is needed")
    elif version != "1.0":
        raise Problem("bad-request", f"the request is of HTTP/{version}; HTTP/1.1 and HTTP/1.0 are spoken here")
    elif hosts > 1:
        raise Problem("bad-request", f"the request has {hosts} Host headers; one at most is allowed")
    elif chunked:
        raise Problem("bad-request", "HTTP/1.0 has no transfer codings")


def add_field(fields: dict[bytes, bytes], name: bytes, value: bytes) -> None:
    """Adds a forwarded field. Refuses one that stands twice and is no list."""
    if name not in fields:
        fields[name] = value
    elif name in LISTS:
        fields[name] += b", " + value
    else:
        raise Problem("bad-request", f"the header {name.decode()} stands in the request more than once")


def check_request_id(value: bytes) -> bool:
    """Whether a client's X-Request-Id may be used: 1 to 128 visible ASCII characters."""
    return 0 < len(value) <= 128 and all(0x21 <= byte <= 0x7E for byte in value)
