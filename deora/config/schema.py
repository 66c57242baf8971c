"""The configuration's schema: every key with its type, meaning, default and range. Pure.

One dataclass for each JSON file, one more for each nested object; those of database.json and
security.json are in `database` and `security`. Sizes are bytes,
durations are in the unit of their name. `docs/configuration.md` and the default files are made from what stands here.
"""

from __future__ import annotations

from typing import Any, Final

from deora.config.database import (
    SSL_MODES,
    UPSTREAM_TYPES,
    Batch,
    Breaker,
    Database,
    FirestoreUpstream,
    Pool,
    PostgresUpstream,
    Retry,
    SqliteUpstream,
    Table,
    Upstream,
)
from deora.config.fields import (
    GIB,
    KIB,
    MIB,
    TIB,
    Spec,
    boolean,
    choice,
    integer,
    list_of,
    mapping_of,
    nested,
    number,
    size,
    text,
)
from deora.config.reading import Fault, dotted, read_section
from deora.config.sections import Section, display, plain, section
from deora.config.security import Cors, Limits, RateLimit, Security, Tls, Token
from deora.errors import ConfigError

__all__ = [
    "SSL_MODES",
    "UPSTREAM_TYPES",
    "Alerts",
    "Backup",
    "Batch",
    "Breaker",
    "Cache",
    "Config",
    "Cors",
    "Database",
    "FirestoreUpstream",
    "HealthCheck",
    "Limits",
    "LoadBalancer",
    "Logger",
    "Operations",
    "Pool",
    "PostgresUpstream",
    "Queue",
    "RateLimit",
    "Redis",
    "Retry",
    "Role",
    "Section",
    "Security",
    "Servers",
    "SqliteUpstream",
    "Table",
    "Tier",
    "Tls",
    "Token",
    "Upstream",
    "upstreams",
]


@section
class Role(Section):
    """The workers of one role."""

    id: str = text("The name of this role in the cookie of sticky sessions.", rule="id")
    workers: int = integer("How many processes serve this role.", minimum=1, maximum=64)
    weight: int = integer("Its share of the requests in `weighted` mode.", minimum=1, maximum=1000)
    priority: int = integer("Its place in `failover` mode; the lowest number serves first.", minimum=1, maximum=100)


@section
class Servers(Section):
    """servers.json: the listener and the workers."""

    id: str | None = text(
        "The name of this instance. `null`: one is made at the first start and kept.",
        default=None,
        rule="id",
        nullable=True,
    )
    host: str = text(
        "The address to listen on. Any other than loopback needs a token.", default="127.0.0.1", rule="host"
    )
    port: int = integer("The port to listen on; 0 takes any free one.", default=3000, minimum=0, maximum=65535)
    max_memory: int = size(
        "A worker that uses more is replaced, without a failed request.", default=GIB, minimum=64 * MIB, maximum=TIB
    )
    request_timeout_s: float = number("A request is answered within this.", default=30, minimum=0.1, maximum=3600)
    drain_timeout_s: float = number(
        "A worker that is drained or replaced has this long to finish its requests; then they go to others.",
        default=10,
        minimum=0,
        maximum=600,
    )
    primary: Role = nested(Role, "The first role.", default=Role(id="A", workers=1, weight=70, priority=1))
    secondary: Role = nested(Role, "The second role.", default=Role(id="B", workers=1, weight=30, priority=2))


@section
class HealthCheck(Section):
    """How the workers' health is judged."""

    interval_s: float = number("The time between two heartbeats of a worker.", default=5, minimum=0.1, maximum=3600)
    rise: int = integer(
        "Heartbeats in a row that are heard until a worker that was out serves again.",
        default=2,
        minimum=1,
        maximum=100,
    )
    fall: int = integer(
        "Heartbeats in a row that are not heard until a worker is out.", default=3, minimum=1, maximum=100
    )
    hang_timeout_s: float = number(
        "A worker that owes an answer and sends nothing for this long, no answer to a ping either, is taken out and "
        "killed; its requests go to another.",
        default=2,
        minimum=0.1,
        maximum=600,
    )


@section
class LoadBalancer(Section):
    """loadbalancer.json: who gets a request."""

    mode: str = choice(
        "How a worker is picked.", ("weighted", "round_robin", "failover", "least_conn"), default="weighted"
    )
    sticky: str = choice("What ties a client to a worker.", ("none", "ip_hash", "cookie"), default="none")
    max_retries: int = integer(
        "Once a worker has died with a request, it is tried alone; after this many more deaths it ends as a 502.",
        default=2,
        minimum=0,
        maximum=10,
    )
    health_check: HealthCheck = nested(HealthCheck, "The checks of the workers.", default=HealthCheck())


@section
class Tier(Section):
    """One tier of the cache."""

    max_size: int = size("Bytes at most; 0 turns this tier off.", minimum=0, maximum=TIB)
    ttl_s: float = number("A copy older than this is not used.", default=3600, minimum=0.1, maximum=31536000)


@section
class Redis(Section):
    """A Redis server as a tier of the cache."""

    url: str | None = text(
        "`redis://:password@host:6379/0`, or `rediss://` for TLS. `null`: no Redis.",
        default=None,
        rule="redis_url",
        nullable=True,
        secret="password",
    )
    timeout_s: float = number(
        "Redis answers within this, or the next tier is asked.", default=0.05, minimum=0.001, maximum=10
    )


@section
class Cache(Section):
    """cache.json: copies that may be lost."""

    memory: Tier = nested(Tier, "In the memory of each worker.", default=Tier(max_size=32 * MIB))
    disk: Tier = nested(Tier, "On disk, under `cache/` of the data directory.", default=Tier(max_size=256 * MIB))
    redis: Redis = nested(Redis, "In Redis.", default=Redis())


@section
class Queue(Section):
    """queue.json: the writes on their way upstream."""

    max_entries: int = integer(
        "Entries that wait, are in flight or dead; over it a write gets 507.",
        default=1_000_000,
        minimum=1,
        maximum=100_000_000,
    )
    max_bytes: int = size(
        "Their bytes on disk; over it a write gets 507.", default=2 * GIB, minimum=64 * KIB, maximum=TIB
    )
    retention_hours: float = number("Entries that are done are kept this long.", default=24, minimum=0, maximum=8760)
    on_dead: str = choice(
        "What later writes to a document do after one was refused: go on, or wait for a hand.",
        ("continue", "hold"),
        default="continue",
    )
    priorities: dict[str, int] = mapping_of(
        Spec("integer", minimum=0, maximum=9),
        "Collection to priority; 9 goes first, and 5 is the priority of a collection that is not named.",
        rule="collection",
        default_factory=dict,
    )


@section
class Logger(Section):
    """logger.json: what is written down, and where."""

    level: str = choice("The least level that is logged.", ("debug", "info", "warning", "error"), default="info")
    outputs: tuple[str, ...] = list_of(
        Spec("choice", choices=("console", "file", "journald")), "Where it goes.", default=("console", "file")
    )
    dir: str = text(
        "The directory of `app.log`, `error.log`, `audit.log` and `access.log`. Relative: under the data directory.",
        default="logs",
        rule="directory",
    )
    max_file_size: int = size("A log file is rotated at this size.", default=10 * MIB, minimum=KIB, maximum=10 * GIB)
    keep: int = integer("Rotated files that are kept of each log.", default=5, minimum=0, maximum=1000)
    access: bool = boolean("Whether `access.log` has a line for each request.", default=False)


@section
class Alerts(Section):
    """When a human is told."""

    webhook: str | None = text(
        "The URL that alerts are posted to. `null`: none.", default=None, rule="http_url", nullable=True, secret="value"
    )
    sentry_dsn: str | None = text(
        "The Sentry project that alerts and errors go to. `null`: none.",
        default=None,
        rule="sentry_dsn",
        nullable=True,
        secret="value",
    )
    queue_entries: int = integer(
        "Alert when more entries wait than this.", default=10_000, minimum=1, maximum=100_000_000
    )
    queue_oldest_s: float = number(
        "Alert when an entry waits longer than this.", default=3600, minimum=1, maximum=31536000
    )
    disk_free: int = size("Alert when less disk is free than this.", default=500 * MIB, minimum=0, maximum=TIB)
    error_rate: float = number(
        "Alert when a larger share of the answers than this is a 5xx.", default=0.05, minimum=0, maximum=1
    )


@section
class Backup(Section):
    """Copies of the store."""

    dir: str | None = text(
        "Where the backups go; best another disk. `null`: none are made by themselves.",
        default=None,
        rule="directory",
        nullable=True,
    )
    every_minutes: float = number("The time between two backups.", default=15, minimum=1, maximum=10080)
    keep: int = integer("Backups that are kept.", default=96, minimum=1, maximum=100_000)


@section
class Operations(Section):
    """operations.json: alerts and backups."""

    alerts: Alerts = nested(Alerts, "When a human is told.", default=Alerts())
    backup: Backup = nested(Backup, "Copies of the store.", default=Backup())


@section
class Config(Section):
    """The whole configuration. An instance is valid by itself; checks across sections are in `checks`."""

    servers: Servers = nested(Servers, "The listener and the workers.", default=Servers())
    loadbalancer: LoadBalancer = nested(LoadBalancer, "Who gets a request.", default=LoadBalancer())
    database: Database = nested(Database, "The upstreams: where the writes go in the end.", default=Database())
    cache: Cache = nested(Cache, "Copies that may be lost.", default=Cache())
    queue: Queue = nested(Queue, "The writes on their way upstream.", default=Queue())
    logger: Logger = nested(Logger, "What is written down, and where.", default=Logger())
    security: Security = nested(Security, "Who may do what, and how much of it.", default=Security())
    operations: Operations = nested(Operations, "Alerts and backups.", default=Operations())

    def to_wire(self) -> dict[str, Any]:
        """Plain values, secrets included, for a frame to a child process; `from_wire` reads them back."""
        result: dict[str, Any] = plain(self)
        return result

    @classmethod
    def from_wire(cls, value: dict[str, Any]) -> Config:
        """The configuration that `to_wire` packed. Raises ConfigError with every fault if the values are wrong."""
        faults: list[Fault] = []
        config = read_section(cls, value, (), faults)
        if faults:
            raise ConfigError([f"{dotted(fault.path)}: {fault.detail}" for fault in faults])
        return config

    def to_display(self) -> dict[str, Any]:
        """Plain values to show or log, with every secret replaced by "***", passwords inside URLs included."""
        return display(self)


FILES: Final = tuple(Config.specs)
"""The names of the configuration's files, without ".json"."""


def upstreams(config: Config) -> dict[str, Upstream]:
    """The upstreams that are configured, by name: "primary", and "secondary" where there is one."""
    named = {"primary": config.database.primary, "secondary": config.database.secondary}
    return {name: upstream for name, upstream in named.items() if upstream is not None}
