"""What a configuration means for the supervisor itself: all that can fail is made here, before anything is changed."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from deora.config.checks import check_listen_address
from deora.config.schema import Config
from deora.config.sections import plain
from deora.errors import StartError
from deora.gateway.access import Access
from deora.gateway.clients import Proxies
from deora.gateway.door import Door
from deora.gateway.hosts import Names, own_names
from deora.gateway.limits import Budget, Limits
from deora.gateway.origins import Origins
from deora.gateway.requests import Patience
from deora.gateway.sticky import STICKY, Sticky
from deora.gateway.surplus import room_for_clients
from deora.gateway.tls import server_context
from deora.supervisor.abilities import check_abilities, value_of

LEAST_ROOM: Final = 8
# An entry that an import brings came in a body of the usual size, and its normal form may be several times as long.
OPERATOR_BODY_BYTES: Final = 32 * 1024 * 1024
LISTENING: Final = ("servers.host", "servers.port")
"""The settings that are in force from the next start on: an instance keeps its address."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The supervisor's share of a configuration. `room` is how many connections clients may have in all."""

    config: Config
    limits: Limits
    door: Door
    room: int
    tls: ssl.SSLContext | None

    @classmethod
    def of(cls, config: Config, data: Path, address: str) -> Settings:
        """Those of an instance that listens on `address`. Raises StartError where it could not do so with them."""
        fault = check_listen_address(config, address)
        if fault is not None:
            raise StartError(fault)
        check_abilities(config)
        return cls(config, _limits(config), _door(config, address), _room(config), _tls(config, data))

    @property
    def operator_limits(self) -> Limits:
        """The limits on the control socket."""
        return replace(self.limits, body_bytes=max(self.limits.body_bytes, OPERATOR_BODY_BYTES))

    @property
    def handshake_s(self) -> float | None:
        """How long a TLS handshake may take; None without TLS."""
        return self.limits.head_timeout_s if self.tls is not None else None

    @property
    def patience(self) -> Patience:
        """How long requests may take, and how many workers they may end."""
        balancing = self.config.loadbalancer
        # A suspect that hangs its worker is still on trial when that is noticed.
        trial_s = balancing.health_check.hang_timeout_s + 1.0
        return Patience(self.config.servers.request_timeout_s, balancing.max_retries, trial_s)

    def sticky(self) -> Sticky | None:
        """How clients stick to workers; None where they do not."""
        kind = STICKY[self.config.loadbalancer.sticky]
        return kind() if kind is not None else None


def needs_restart(old: Config, new: Config) -> list[str]:
    """The settings in which the two differ and which an instance that runs cannot take over."""
    return [key for key in LISTENING if value_of(old, key) != value_of(new, key)]


def differences(old: Config, new: Config) -> list[str]:
    """The settings in which the two differ, by their dotted names."""
    return list(_differing("", plain(old), plain(new)))


def _differing(name: str, old: Any, new: Any) -> Iterator[str]:
    if old == new:
        return
    if not (isinstance(old, dict) and isinstance(new, dict)):
        yield name
        return
    for key in sorted({**old, **new}):
        yield from _differing(f"{name}.{key}" if name else key, old.get(key), new.get(key))


def _room(config: Config) -> int:
    workers = config.servers.primary.workers + config.servers.secondary.workers
    room = room_for_clients(workers + len(("store", "replayer", "zygote")))
    if room < LEAST_ROOM:
        raise StartError(
            f"the limit of open files leaves {room} for connections; at least {LEAST_ROOM} are needed",
            hint=f"raise it by {LEAST_ROOM - room} or more: `ulimit -n`, or LimitNOFILE= of the service",
        )
    return room


def _limits(config: Config) -> Limits:
    limits = config.security.limits
    return Limits(
        limits.body,
        limits.headers,
        limits.target,
        limits.header_timeout_s,
        connections=limits.connections_per_address,
    )


def _door(config: Config, address: str) -> Door:
    security = config.security
    rate = security.rate_limit
    return Door(
        Access(security.tokens),
        Names(security.allowed_hosts or {address, *own_names()}),
        Origins(security.cors.origins),
        Proxies(security.trusted_proxies),
        Budget(rate.requests, rate.window_s) if rate.requests else None,
        security.require_https,
    )


def _tls(config: Config, data: Path) -> ssl.SSLContext | None:
    tls = config.security.tls
    return server_context(data / tls.cert, data / tls.key) if tls.cert and tls.key else None
