"""The formats of texts and sizes, and what may be shown of a text that holds a secret. Pure.

`RULES` is the table of text formats: a specification names its entry, faults and documentation quote its words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from ipaddress import ip_address, ip_network
from typing import Final, NamedTuple
from urllib.parse import SplitResult, urlsplit

from deora.documents.paths import check_collection_path
from deora.errors import Problem

HIDDEN: Final = "***"

_UNITS: Final = {
    "": 1,
    "b": 1,
    "kib": 1 << 10,
    "mib": 1 << 20,
    "gib": 1 << 30,
    "tib": 1 << 40,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
}
_BINARY_UNITS: Final = (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10))

# Control characters could forge a log line; a lone surrogate cannot be sent to a child process as UTF-8.
_UNPRINTABLE: Final = "[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]"
_NAME: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
_HOST_NAME: Final = r"[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?"
_SECRET_PARAMETER: Final = r"(?i)([?&;][^=&;#]*(?:pass|pwd|secret|token|auth|key)[^=&;#]*=)[^&;#]*"


def parse_size(value: str) -> int | None:
    """The bytes that a text like "10MiB", "500 KiB", "1MB" or "4096" means, or None if it means none."""
    match = re.fullmatch(r"([0-9]{1,18}) ?([A-Za-z]{0,3})", value)
    factor = _UNITS.get(match[2].lower()) if match else None
    return int(match[1]) * factor if match and factor else None


def format_size(size_bytes: int) -> str | int:
    """The shortest exact spelling: "4MiB" where a binary unit divides it, else the number itself."""
    for unit, factor in _BINARY_UNITS:
        if size_bytes and size_bytes % factor == 0:
            return f"{size_bytes // factor}{unit}"
    return size_bytes


def is_loopback(host: str) -> bool:
    """Whether only this box reaches `host`: 127.0.0.0/8, ::1 and localhost; anything else counts as reachable."""
    if host.lower() == "localhost":
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    # Later Pythons call ::ffff:127.0.0.1 a loopback address, 3.11 does not; the contract names ::1 alone.
    return address.is_loopback and getattr(address, "ipv4_mapped", None) is None


def mask_url(url: str) -> str:
    """`url` without its password and without secret query parameters.

    It hides rather too much than too little: all between the first colon of the user part and the last "@".
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url
    user_info, at, place = rest.rpartition("@")
    user, colon, _ = user_info.partition(":")
    masked = f"{user}:{HIDDEN}@{place}" if at and colon else rest
    return f"{scheme}://{re.sub(_SECRET_PARAMETER, lambda found: found[1] + HIDDEN, masked)}"


def split_url(value: str) -> SplitResult | None:
    """The parts of a URL whose port, if any, is a number from 1 to 65535; None if it is no such URL."""
    try:
        parts = urlsplit(value)
        port_is_wrong = parts.port == 0
    except ValueError:
        return None
    return None if port_is_wrong or not parts.scheme or re.search(r"\s", value) else parts


class Rule(NamedTuple):
    """A text format: the words for what is allowed, and the test."""

    allowed: str
    holds: Callable[[str], bool]


def _is_host(value: str) -> bool:
    # What looks like an address must be one: "0.0.0.0:3000" and "300.1.1.1" are no host names.
    if ":" in value or re.fullmatch(r"[0-9.]+", value):
        try:
            ip_address(value)
        except ValueError:
            return False
        return True
    return len(value) <= 253 and re.fullmatch(_HOST_NAME, value) is not None


def _is_host_and_port(value: str) -> bool:
    parts = split_url(f"http://{value}")
    return (
        parts is not None
        and parts.port is not None
        and _is_host(parts.hostname or "")
        and parts.netloc == value
        and "@" not in value
    )


def _is_network(value: str) -> bool:
    try:
        ip_network(value)
    except ValueError:
        return False
    return True


def _is_collection(value: str) -> bool:
    try:
        check_collection_path(value)
    except Problem:
        return False
    return True


def _is_table(value: str) -> bool:
    # 63 bytes: PostgreSQL cuts a longer name off (NAMEDATALEN).
    parts = value.split(".")
    return len(parts) <= 2 and all(0 < len(part.encode()) <= 63 for part in parts)


def _is_file(value: str) -> bool:
    return value not in ("", ".", "..") and not value.endswith("/") and not value.startswith((":", "file:"))


def _is_origin(value: str) -> bool:
    parts = split_url(value)
    return (
        parts is not None
        and parts.scheme in ("http", "https")
        and _is_host(parts.hostname or "")
        and "@" not in value
        and value.lower() == f"{parts.scheme}://{parts.netloc}".lower()
    )


def _url_of(*schemes: str) -> Callable[[str], bool]:
    def holds(value: str) -> bool:
        parts = split_url(value)
        return parts is not None and parts.scheme in schemes and bool(parts.hostname)

    return holds


def _is_postgres(value: str) -> bool:
    if not re.fullmatch(r"postgres(ql)?://\S+", value):
        return False
    # Several hosts, "a:5432,b:5432", are a form of libpq's that no URL parser takes.
    return "," in value.partition("://")[2].partition("/")[0] or split_url(value) is not None


def _is_redis(value: str) -> bool:
    return _url_of("redis", "rediss")(value) or re.fullmatch(r"unix://([^/@]*@)?/[^/\s]\S*", value) is not None


def _is_sentry(value: str) -> bool:
    return _url_of("http", "https")(value) and "@" in value


RULES: Final[Mapping[str, Rule]] = {
    "text": Rule("a text of at least one character", bool),
    "id": Rule(
        "1 to 64 of A-Z a-z 0-9 . _ - that begin with a letter or digit",
        lambda value: re.fullmatch(_NAME, value) is not None,
    ),
    "host": Rule("an IP address or a host name, without a port", _is_host),
    "host_port": Rule('a host and a port, like "127.0.0.1:8080"', _is_host_and_port),
    "network": Rule('an IP address or a network, like "10.0.0.0/8"', _is_network),
    "collection": Rule('a collection, like "orders" or "orders/o1/items"', _is_collection),
    "firestore_id": Rule(
        "1 to 100 of a-z 0-9 . : - ( )", lambda value: re.fullmatch(r"[a-z0-9.:()-]{1,100}", value) is not None
    ),
    "table": Rule('a table, like "orders" or "public.orders"', _is_table),
    "column": Rule("a column's name, 1 to 63 bytes", lambda value: 0 < len(value.encode()) <= 63),
    "directory": Rule("a directory (relative ones are under the data directory)", bool),
    "file": Rule("the name of a file (relative ones are under the data directory)", _is_file),
    "origin": Rule('an origin, like "https://till.example:8443"', _is_origin),
    "http_url": Rule("an http:// or https:// URL", _url_of("http", "https")),
    "sentry_dsn": Rule("a Sentry DSN, https://KEY@HOST/PROJECT", _is_sentry),
    "redis_url": Rule("a redis://, rediss:// or unix:// URL", _is_redis),
    "postgres_url": Rule(
        "a postgresql:// or postgres:// URL (special characters in a password as %XX)",
        _is_postgres,
    ),
    "token_hash": Rule(
        '"sha256:" and 64 hexadecimal digits in lower case',
        lambda value: re.fullmatch(r"sha256:[0-9a-f]{64}", value) is not None,
    ),
}


def follows(rule: str, value: str) -> bool:
    """Whether `value` follows the rule of that name; no rule admits control characters or lone surrogates."""
    return not re.search(_UNPRINTABLE, value) and RULES[rule].holds(value)
