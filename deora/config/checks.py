"""What must hold between keys of the configuration. Pure.

Each check names the keys that it speaks of, so that `load` can name their files, and can leave a check out whose keys
are wrong by themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from posixpath import normpath
from typing import Final, NamedTuple

from deora.config.database import FirestoreUpstream, PostgresUpstream, SqliteUpstream, Upstream
from deora.config.formats import format_size, is_loopback
from deora.config.reading import Path
from deora.config.schema import Config, upstreams

STORE_FILE: Final = "store.db"
"""The store's own file in the data directory."""


class Conflict(NamedTuple):
    """Values that do not go together: the keys, and what is wrong."""

    paths: tuple[Path, ...]
    detail: str


def conflicts(config: Config) -> list[Conflict]:
    """Every conflict between the keys of `config`."""
    return [conflict for check in _CHECKS for conflict in check(config)]


def check_listen_address(config: Config, host: str) -> str | None:
    """Why this configuration must not listen on `host`, and what to do; None if it may.

    For `deora start --host`, which may name another address than `servers.host`. The rule: anyone who reaches a
    service without a token may read and write everything, so only loopback goes without.
    """
    if is_loopback(host):
        return None
    if not config.security.tokens:
        return (
            f'"{host}" can be reached from other machines and security.tokens is empty, so anyone on the network could '
            "read and write everything. Add a token (`deora token add NAME --scope write`), or listen on 127.0.0.1"
        )
    security = config.security
    if security.require_https and not security.tls.cert and not security.trusted_proxies:
        return (
            f'"{host}" can be reached from other machines, security.require_https is true, and nothing brings HTTPS: '
            "each of their requests would be refused. Set security.tls, or name the proxy that ends TLS in "
            "security.trusted_proxies"
        )
    return None


def _roles(config: Config) -> Iterator[Conflict]:
    servers = config.servers
    if servers.primary.id == servers.secondary.id:
        paths = (("servers", "primary", "id"), ("servers", "secondary", "id"))
        yield Conflict(paths, f'both are "{servers.primary.id}"; each role needs an id of its own')


def _listen_address(config: Config) -> Iterator[Conflict]:
    fault = check_listen_address(config, config.servers.host)
    if fault:
        tokens = ("security", "tokens")
        related = (tokens, ("security", "require_https"), ("security", "tls"), ("security", "trusted_proxies"))
        yield Conflict((("servers", "host"), *(related if config.security.tokens else (tokens,))), fault)


def _timeouts(config: Config) -> Iterator[Conflict]:
    hang_timeout_s = config.loadbalancer.health_check.hang_timeout_s
    request_timeout_s = config.servers.request_timeout_s
    if hang_timeout_s >= request_timeout_s:
        paths = (("loadbalancer", "health_check", "hang_timeout_s"), ("servers", "request_timeout_s"))
        detail = (
            f"a worker that hangs is noticed after {hang_timeout_s} s, when its requests have timed out already "
            f"({request_timeout_s} s); hang_timeout_s must be below request_timeout_s"
        )
        yield Conflict(paths, detail)


def _memory(config: Config) -> Iterator[Conflict]:
    cache_size, max_memory = config.cache.memory.max_size, config.servers.max_memory
    if cache_size >= max_memory:
        paths = (("cache", "memory", "max_size"), ("servers", "max_memory"))
        detail = (
            f"a memory cache of {format_size(cache_size)} alone takes a worker over servers.max_memory "
            f"({format_size(max_memory)}), which replaces it again and again; make the cache smaller"
        )
        yield Conflict(paths, detail)


def _pools(config: Config) -> Iterator[Conflict]:
    for name, upstream in upstreams(config).items():
        if isinstance(upstream, PostgresUpstream) and upstream.pool.min > upstream.pool.max:
            pool = ("database", name, "pool")
            detail = f"min is {upstream.pool.min}, max is {upstream.pool.max}; min must not be above max"
            yield Conflict(((*pool, "min"), (*pool, "max")), detail)


def _upstream_files(config: Config) -> Iterator[Conflict]:
    for name, upstream in upstreams(config).items():
        if isinstance(upstream, SqliteUpstream) and normpath(upstream.file) == STORE_FILE:
            yield Conflict(
                (("database", name, "file"),), f'"{STORE_FILE}" is the file of the store itself; name another'
            )


def _distinct_upstreams(config: Config) -> Iterator[Conflict]:
    primary, secondary = config.database.primary, config.database.secondary
    if secondary is None or _place(primary) != _place(secondary):
        return
    key = {"sqlite": "file", "firestore": "project", "postgres": "url"}[primary.type]
    detail = f"both upstreams are the same place, so each write would go there twice; give the secondary another {key}"
    yield Conflict((("database", "secondary", key), ("database", "primary", key)), detail)


def _place(upstream: Upstream) -> tuple[str | None, ...]:
    match upstream:
        case SqliteUpstream():
            return ("sqlite", normpath(upstream.file))
        case FirestoreUpstream():
            return ("firestore", upstream.project, upstream.database, upstream.emulator_host)
        case PostgresUpstream():
            return ("postgres", upstream.url)


def _tls(config: Config) -> Iterator[Conflict]:
    tls = config.security.tls
    if (tls.cert is None) != (tls.key is None):
        there, missing = ("cert", "key") if tls.key is None else ("key", "cert")
        detail = f"{there} is set and {missing} is not; TLS needs both, plain HTTP neither"
        yield Conflict((("security", "tls", "cert"), ("security", "tls", "key")), detail)


def _tokens(config: Config) -> Iterator[Conflict]:
    tokens = config.security.tokens
    for index, token in enumerate(tokens):
        for earlier in tokens[:index]:
            same = "name" if token.name == earlier.name else "hash" if token.hash == earlier.hash else None
            if same:
                detail = f'it has the {same} of an earlier token, "{earlier.name}"; each token needs its own'
                yield Conflict((("security", "tokens", index, same),), detail)


_CHECKS: Final[tuple[Callable[[Config], Iterator[Conflict]], ...]] = (
    _roles,
    _listen_address,
    _timeouts,
    _memory,
    _pools,
    _upstream_files,
    _distinct_upstreams,
    _tls,
    _tokens,
)
