"""A request as a worker sees it: the frame's bytes, decoded where a handler asks for them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, unquote_to_bytes

from deora.errors import Problem
from deora.wire.frames import FLAG_CLOSE, FLAG_GZIP, FLAG_HEAD, FLAG_SCOPE_MASK

_MAX_KEY: Final = 255
MAX_WAIT_S: Final = 30
_STRAY_PERCENT: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")


@dataclass(slots=True)
class Request:
    """`path` and `query` are the target's parts as they came; `seed` makes generated ids, the same at each attempt."""

    id: int
    method: bytes
    path: bytes
    query: bytes
    fields: dict[bytes, bytes]
    content: bytes
    scope: int
    close: bool
    head: bool
    seed: bytes
    gzip: bool = False

    @property
    def request_id(self) -> bytes:
        """The X-Request-Id, the client's or the gateway's."""
        return self.fields[b"x-request-id"]

    def parameters(self) -> list[tuple[str, str]]:
        """The query's parameters in order, percent-decoded once. Raises Problem for what is not UTF-8."""
        if not self.query:
            return []
        try:
            return parse_qsl(
                self.query.decode("ascii"),
                keep_blank_values=True,
                strict_parsing=True,
                errors="strict",
                max_num_fields=100,
            )
        except ValueError:
            raise Problem(
                "bad-request",
                "the query is not a list of name=value in percent-encoded UTF-8",
                hint="encode &, =, +, % and everything beyond ASCII, as curl's --data-urlencode with -G does",
            ) from None

    def json_content(self) -> bytes:
        """The content, which must be declared as JSON. An empty one is valid under any type."""
        if self.content and self.fields.get(b"content-type") != b"application/json":
            kind = self.fields.get(b"content-type", b"").split(b";")[0].strip().lower()
            if kind != b"application/json" and not (kind.startswith(b"application/") and kind.endswith(b"+json")):
                found = f"the content type {kind.decode('latin-1')}" if kind else "no content type"
                raise Problem(
                    "unsupported-media-type",
                    f"the body came with {found}; application/json is allowed",
                    hint="curl: add -H 'Content-Type: application/json'",
                )
        return self.content

    def idempotency_key(self) -> bytes | None:
        """The Idempotency-Key, 1 to 255 printable ASCII characters."""
        key = self.fields.get(b"idempotency-key")
        if key is not None and (not 0 < len(key) <= _MAX_KEY or not all(0x20 <= byte <= 0x7E for byte in key)):
            raise Problem("invalid-header", "an Idempotency-Key has 1 to 255 printable ASCII characters")
        return key

    def priority(self) -> int | None:
        """The X-Deora-Priority, 0 to 9."""
        value = self.fields.get(b"x-deora-priority")
        if value is None:
            return None
        if len(value) != 1 or not value.isdigit():
            raise Problem(
                "invalid-header",
                f"X-Deora-Priority is {value.decode('latin-1')[:40]!r}; 0 to 9 are allowed, and 9 goes first",
            )
        return int(value)

    def preferences(self) -> tuple[int, bool]:
        """What `Prefer` asks for (RFC 7240): seconds to wait for upstream, and whether to show the document.

        Preferences that DEORA does not know are ignored, as the RFC demands.
        """
        wait_s, representation = 0, False
        wanted = self.fields.get(b"prefer")
        if wanted is None:
            return wait_s, representation
        for preference in wanted.split(b","):
            name, _, value = preference.split(b";")[0].partition(b"=")
            name, value = name.strip().lower(), value.strip().strip(b'"')
            if name == b"wait":
                if not value.isdigit() or len(value) > 9:
                    raise Problem("invalid-header", "Prefer: wait=N takes a whole number of seconds")
                wait_s = min(int(value), MAX_WAIT_S)
            elif name == b"return" and value.lower() == b"representation":
                representation = True
        return wait_s, representation

    def if_match(self) -> str | None:
        """The version of If-Match, `*` for any; a weak tag or a list can guard nothing here and is refused."""
        return self._tag(b"if-match")

    def if_none_match(self) -> list[str]:
        """The versions of If-None-Match; weak tags compare as the same (RFC 9110, 13.1.2)."""
        value = self.fields.get(b"if-none-match")
        if value is None:
            return []
        tags = [tag.strip().removeprefix("W/") for tag in value.decode("latin-1").split(",")]
        for tag in tags:
            if tag != "*" and not (len(tag) >= 2 and tag[0] == tag[-1] == '"'):
                raise Problem("invalid-header", 'If-None-Match takes "<version>" in double quotes, or *')
        return [tag.strip('"') for tag in tags]

    def _tag(self, name: bytes) -> str | None:
        value = self.fields.get(name)
        if value is None:
            return None
        tag = value.decode("latin-1").strip()
        if tag == "*":
            return tag
        if len(tag) < 2 or tag[0] != '"' or tag[-1] != '"' or '"' in tag[1:-1]:
            raise Problem(
                "invalid-header",
                f'If-Match is {tag[:60]!r}; one strong tag in double quotes, such as "<version>", or * is allowed',
                hint="use the ETag of a read as it is",
            )
        return tag[1:-1]


def parse(ident: int, flags: int, head_bytes: int, body: bytes, run: bytes) -> Request:
    """A REQUEST frame as a Request. The gateway made the head, so its form is certain."""
    line, *lines = body[:head_bytes].split(b"\n")
    method, target = line.split(b" ", 1)
    path, _, query = target.partition(b"?")
    fields: dict[bytes, bytes] = {}
    for text in lines:
        name, _, value = text.partition(b":")
        fields[name] = value
    return Request(
        ident,
        method,
        path,
        query,
        fields,
        body[head_bytes:],
        flags & FLAG_SCOPE_MASK,
        bool(flags & FLAG_CLOSE),
        bool(flags & FLAG_HEAD),
        run + ident.to_bytes(8, "big"),
        bool(flags & FLAG_GZIP),
    )


def decode_path(path: bytes) -> str:
    """A percent-encoded path, decoded once. Raises Problem for what is not UTF-8, no encoding, or hides a slash."""
    if b"%" not in path:
        try:
            return path.decode("ascii")
        except UnicodeDecodeError:
            raise Problem("invalid-path", "the path holds bytes beyond ASCII; percent-encode them") from None
    if b"%2f" in path.lower():
        raise Problem("invalid-path", "an id cannot hold a slash, not as %2F either")
    if _STRAY_PERCENT.search(path) is not None:
        raise Problem("invalid-path", "the path has a % without two hexadecimal digits", hint="write %25 for a %")
    try:
        return unquote_to_bytes(path).decode("utf-8")
    except UnicodeDecodeError:
        raise Problem("invalid-path", "the path is not UTF-8 once it is percent-decoded") from None
