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

METHODS: Final = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"})

_ONCE: Final = {
    b"authorization": "authorization",
    b"x-forwarded-proto": "forwarded_proto",
    b"access-control-request-method": "requested_method",
}
_MOST_DIGITS: Final = 19


class Head:
    """What has come of a request's head so far. `fields` are those that a worker reads; `length` in bytes.

    What most requests lack stands in the class: to make a dataclass of so many fields costs as much as to parse one.
    """

    size_bytes: int = 0
    hosts: int = 0
    origin: bytes | None = None
    authorization: bytes | None = None
    forwarded_for: bytes = b""
    forwarded_proto: bytes | None = None
    requested_method: bytes | None = None
    cookie: bytes = b""
    accepts_gzip: bool = False
    expects: bool = False
    is_chunked: bool = False
    length: int = 0

    def __init__(self, target: bytes = b"", host: bytes = b"localhost") -> None:
        self.target = target
        self.host = host
        self.fields: dict[bytes, bytes] = {}

    def add(self, name: bytes, value: bytes) -> None:
        """Takes one header field. Raises Problem for one that may not stand here, or not twice."""
        self.size_bytes += len(name) + len(value) + 4
        name = name.lower()
        if name in FORWARDED:
            add_field(self.fields, name, value)
        elif name == b"host":
            self.hosts += 1
            self.host = value
        elif name == b"origin":
            self.origin = value
        elif name in _ONCE:
            if getattr(self, _ONCE[name]) is not None:
                raise _twice(name)
            setattr(self, _ONCE[name], value)
        elif name == b"cookie":
            self.cookie = b"%b; %b" % (self.cookie, value) if self.cookie else value
        elif name == b"accept-encoding":
            self.accepts_gzip = self.accepts_gzip or takes_gzip(value)
        elif name == b"x-forwarded-for":
            # A list: each proxy may have added a line of its own.
            self.forwarded_for = b"%b, %b" % (self.forwarded_for, value) if self.forwarded_for else value
        else:
            self._add_framing(name, value)

    def _add_framing(self, name: bytes, value: bytes) -> None:
        if name == b"expect":
            if value.lower() != b"100-continue":
                raise Problem("bad-request", "only `Expect: 100-continue` is known")
            self.expects = True
        elif name == b"content-length":
            # The parser has seen to it that it is a number; one of more digits than any limit needs no arithmetic.
            self.length = int(value[:_MOST_DIGITS]) if len(value) <= _MOST_DIGITS else 10**_MOST_DIGITS
        elif name == b"transfer-encoding":
            if value.lower() != b"chunked":
                raise Problem("bad-request", "the only transfer coding allowed is `chunked`")
            self.is_chunked = True


def head_end(came: bytes, method: bytes, target: bytes, version: str, start: int, *, is_exact: bool) -> int:
    """Where a request's head ends in the bytes that came. Refuses what the parser passes over before and within its
    request line (RFC 9112, 2.2 and 3): proxies differ there.

    The head begins at `start`, behind nothing but empty lines, or, where that is not `is_exact`, somewhere behind it.
    """
    line = b"%b %b HTTP/%b\r\n" % (method, target, version.encode())
    begin = start if came.startswith(line, start) else came.find(line, start)
    end = came.find(b"\r\n\r\n", begin)
    if begin < 0 or end < 0 or (is_exact and begin > start and came[start:begin].replace(b"\r\n", b"")):
        raise Problem("bad-request", "the request line must be METHOD TARGET VERSION, one space apart, and come first")
    return end + 4


def check_target_length(target: bytes, limit_bytes: int) -> None:
    """Refuses a request target that is too long."""
    if len(target) > limit_bytes:
        raise Problem(
            "target-too-long",
            f"the request target has {len(target)} bytes; {limit_bytes} are allowed",
            hint="POST /v1/documents:batchGet takes many paths in its body",
        )


def settle_target(head: Head, method: bytes) -> None:
    """Brings the target into origin form (RFC 9112, 3.2), or refuses it.

    An absolute form names the host, which then counts in place of the Host header. OPTIONS may ask of `*`.
    """
    scheme = head.target[:8].lower()
    start = 7 if scheme.startswith(b"http://") else 8 if scheme == b"https://" else 0
    if start:
        slash = head.target.find(b"/", start)
        query = head.target.find(b"?", start)
        end = min((place for place in (slash, query) if place >= 0), default=len(head.target))
        head.host = head.target[start:end]
        path = head.target[end:]
        head.target = path if path.startswith(b"/") else b"/" + path
    if (not head.target.startswith(b"/") or b"#" in head.target) and (head.target, method) != (b"*", b"OPTIONS"):
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
        raise _twice(name)


def _twice(name: bytes) -> Problem:
    return Problem("bad-request", f"the header {name.decode()} stands in the request more than once")


def takes_gzip(value: bytes) -> bool:
    """Whether an Accept-Encoding names gzip, and not to refuse it (RFC 9110, 12.5.3)."""
    for coding in value.lower().split(b","):
        name, _, weight = coding.partition(b";")
        if name.strip() in (b"gzip", b"x-gzip"):
            return weight.replace(b" ", b"").rstrip(b"0") not in (b"q=", b"q=0.", b"q=.")
    return False


def check_request_id(value: bytes) -> bool:
    """Whether a client's X-Request-Id may be used: 1 to 128 visible ASCII characters."""
    return 0 < len(value) <= 128 and all(0x21 <= byte <= 0x7E for byte in value)
