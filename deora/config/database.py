"""database.json's part of the schema: the upstreams, one section for each type, chosen by its `type` key. Pure."""

from __future__ import annotations

from typing import Final, Literal

from deora.config.fields import (
    KIB,
    MIB,
    Spec,
    choice,
    integer,
    list_of,
    mapping_of,
    nested,
    number,
    size,
    text,
    variant,
)
from deora.config.sections import Section, section

SSL_MODES: Final = ("disable", "prefer", "require", "verify-ca", "verify-full")


@section
class SqliteUpstream(Section):
    """A SQLite file beside the store, or on a second disk."""

    type: Literal["sqlite"] = choice("Embedded: a SQLite file on this box, also on a second disk.", ("sqlite",))
    file: str = text("The database file. Relative: under the data directory.", default="upstream.db", rule="file")


@section
class FirestoreUpstream(Section):
    """Cloud Firestore, or its emulator."""

    type: Literal["firestore"] = choice("Cloud Firestore.", ("firestore",))
    project: str = text("The Google Cloud project.", rule="firestore_id")
    database: str = text("The database within the project.", default="(default)", rule="firestore_id")
    credentials: str = text(
        "The service account's key file. Relative: under the data directory. Not read with an emulator.",
        default="key.json",
        rule="file",
    )
    emulator_host: str | None = text(
        "Host and port of an emulator, which is spoken to without TLS and credentials. `null`: the real Firestore.",
        default=None,
        rule="host_port",
        nullable=True,
    )


@section
class Table(Section):
    """A table of the user's own for one collection."""

    table: str = text("The table's name; `schema.table` where it is not on the search path.", rule="table")
    id: str = text("The column that holds the document's id.", default="id", rule="column")


@section
class Pool(Section):
    """Connections to PostgreSQL."""

    min: int = integer("Connections that are kept open.", default=2, minimum=0, maximum=1000)
    max: int = integer("Connections at most.", default=20, minimum=1, maximum=1000)
    idle_timeout_s: float = number(
        "An idle connection above `min` is closed after this long.", default=30, minimum=0.1, maximum=86400
    )
    connect_timeout_s: float = number("A connection must stand within this.", default=10, minimum=0.1, maximum=600)
    max_age_s: float = number(
        "A connection older than this is replaced once it is free.", default=7200, minimum=1, maximum=604800
    )
    statement_timeout_s: float = number(
        "A statement that takes longer is cancelled.", default=30, minimum=0.1, maximum=3600
    )


@section
class PostgresUpstream(Section):
    """PostgreSQL."""

    type: Literal["postgres"] = choice("PostgreSQL.", ("postgres",))
    url: str = text(
        "Where the database is and who asks: `postgresql://user:password@host:5432/name`.",
        rule="postgres_url",
        secret="password",
    )
    tables: dict[str, Table] = mapping_of(
        Spec("section", section=Table),
        "Tables of your own: collection to table. Other collections go to `deora_documents`.",
        rule="collection",
        default_factory=dict,
    )
    ssl: str | None = choice(
        "How the connection is encrypted, in PostgreSQL's words; `verify-full` also checks certificate and name. "
        "`null`: what the URL's `sslmode` says.",
        SSL_MODES,
        default=None,
        nullable=True,
    )
    pool: Pool = nested(Pool, "The connections.", default=Pool())


Upstream = SqliteUpstream | FirestoreUpstream | PostgresUpstream

UPSTREAM_TYPES: Final[dict[str, type[Upstream]]] = {
    "sqlite": SqliteUpstream,
    "firestore": FirestoreUpstream,
    "postgres": PostgresUpstream,
}


@section
class Breaker(Section):
    """When an upstream is given a rest."""

    threshold: int = integer("Failures in a row that open the breaker.", default=5, minimum=1, maximum=1000)
    timeout_s: float = number(
        "The breaker stays open this long before it lets a probe through.", default=60, minimum=0.1, maximum=86400
    )


@section
class Retry(Section):
    """How one call upstream is tried again."""

    attempts: int = integer("Attempts of one call.", default=3, minimum=1, maximum=20)
    base_s: float = number(
        "The wait before the second attempt; it doubles with each, and is jittered.",
        default=0.1,
        minimum=0.001,
        maximum=60,
    )


@section
class Batch(Section):
    """How much goes upstream at once."""

    max_writes: int = integer("Writes in one batch. An entry is never split.", default=500, minimum=1, maximum=500)
    max_bytes: int = size("Bytes in one batch, as encoded.", default=3 * MIB, minimum=KIB, maximum=9 * MIB)


@section
class Database(Section):
    """database.json: where the writes go in the end."""

    primary: Upstream = variant(
        UPSTREAM_TYPES,
        "The upstream that counts: `replication: done` means that it has the write.",
        default=SqliteUpstream(type="sqlite", file="upstream.db"),
    )
    secondary: Upstream | None = variant(
        UPSTREAM_TYPES,
        "A second upstream that gets every write as well. `null`: none.",
        default=None,
        nullable=True,
    )
    health_check_interval_s: float = number(
        "The time between two checks of an upstream.", default=30, minimum=0.1, maximum=86400
    )
    sync_interval_s: float = number(
        "The time between two pulls of the replicated collections.", default=60, minimum=0.1, maximum=86400
    )
    replicate: tuple[str, ...] = list_of(
        Spec("text", rule="collection"),
        "Collections that are pulled and kept whole on this box, so that they can be read and queried offline.",
        default=(),
    )
    breaker: Breaker = nested(Breaker, "The circuit breaker of each upstream.", default=Breaker())
    retry: Retry = nested(Retry, "The attempts of each call upstream.", default=Retry())
    batch: Batch = nested(Batch, "The limits of a batch.", default=Batch())
