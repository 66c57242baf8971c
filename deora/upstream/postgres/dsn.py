"""Where the servers are, by the URL: hosts, what is asked of a session, how the connection is encrypted. Pure.

The URL is libpq's ("Connection URIs" in PostgreSQL's manual, section 34.1.1.2). Several hosts are tried one after the
other, each with the whole connect time-out, as libpq does. With several hosts a session must take writes, unless
`target_session_attrs` says otherwise: the others are standbys, and this is where writes go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from deora.errors import ConfigError

DEFAULT_PORT: Final = 5432
SESSIONS: Final = ("any", "read-write", "primary")

# Options of libpq that asyncpg would send to the server, which knows none of them.
_OF_LIBPQ: Final = frozenset(
    {
        "channel_binding", "client_encoding", "connect_timeout", "fallback_application_name", "gssdelegation",
        "gssencmode", "hostaddr", "keepalives", "keepalives_count", "keepalives_idle", "keepalives_interval",
        "load_balance_hosts", "require_auth", "requirepeer", "sslcompression", "sslsni", "tcp_user_timeout",
    }
)  # fmt: skip
# Settled here, and given to asyncpg beside the URL.
_SETTLED: Final = frozenset({"host", "port", "sslmode", "target_session_attrs"})


@dataclass(frozen=True, slots=True)
class Place:
    """A database as the URL names it. `hosts` is empty where it names none: then the environment and defaults decide.

    `url` has what is not here: user, password, database, further settings. It is a secret; `label` is for messages.
    """

    url: str
    hosts: tuple[tuple[str, int], ...]
    database: str
    session: str
    ssl: str | None
    tls_files: Mapping[str, str]

    @property
    def label(self) -> str:
        """Hosts and database, for messages: no user, no password."""
        hosts = ",".join(host if port == DEFAULT_PORT else f"{host}:{port}" for host, port in self.hosts)
        return f"PostgreSQL at {hosts or 'the default host'}/{self.database}"

    def __repr__(self) -> str:
        return f"Place({self.label})"


def place_of(url: str, ssl: str | None) -> Place:
    """What a URL says; `ssl`, where given, goes before its sslmode. Raises ConfigError without the URL's secrets."""
    try:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError:
        raise ConfigError(["database.json: the URL of an upstream of type postgres cannot be read"]) from None
    user_info, at, host_list = parts.netloc.rpartition("@")
    hosts = _hosts(host_list or options.get("host", ""), options.get("port", ""))
    session = options.get("target_session_attrs", "read-write" if len(hosts) > 1 else "any")
    if session not in SESSIONS:
        problem = (
            f"database.json: target_session_attrs is {session!r} in the URL of an upstream, which is written to;"
            f" allowed: {', '.join(SESSIONS)}"
        )
        raise ConfigError([problem])
    kept = {name: value for name, value in options.items() if name not in _OF_LIBPQ | _SETTLED}
    return Place(
        url=urlunsplit((parts.scheme, user_info + at, parts.path, urlencode(kept), "")),
        hosts=hosts,
        database=unquote(parts.path.lstrip("/")) or options.get("dbname", ""),
        session=session,
        ssl=ssl or options.get("sslmode"),
        tls_files={name: kept[name] for name in ("sslrootcert", "sslcert", "sslkey", "sslpassword") if name in kept},
    )


def _hosts(host_list: str, port_list: str) -> tuple[tuple[str, int], ...]:
    """Host and port of each host of a list; one port, or one for each host, may stand apart."""
    if not host_list:
        return ()
    written = host_list.split(",")
    ports = port_list.split(",") if port_list else []
    hosts = []
    for index, one in enumerate(written):
        host, port = _host(unquote(one))
        apart = ports[index] if len(ports) == len(written) else ports[0] if len(ports) == 1 else ""
        hosts.append((host, _port(port or apart)))
    return tuple(hosts)


def _host(text: str) -> tuple[str, str]:
    """Host and port, the latter empty where there is none: `db`, `db:5433`, `[::1]:5433`, `/run/postgresql`."""
    if text.startswith("/"):
        return text, ""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        return host, rest.removeprefix(":")
    host, _, port = text.partition(":")
    return host, port


def _port(text: str) -> int:
    if not text:
        return DEFAULT_PORT
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65536:
        raise ConfigError([f"database.json: the port {text!r} in the URL of an upstream; allowed is 1 to 65535"])
    return int(text)
