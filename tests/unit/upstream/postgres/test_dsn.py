"""URLs as libpq writes them."""

from __future__ import annotations

import pytest

from deora.errors import ConfigError
from deora.upstream.postgres.dsn import place_of


@pytest.mark.parametrize(
    ("url", "hosts", "database"),
    [
        ("postgresql://h/d", (("h", 5432),), "d"),
        ("postgres://u:p@h:5433/d%20x", (("h", 5433),), "d x"),
        ("postgresql://u@a,b:5433,c/d", (("a", 5432), ("b", 5433), ("c", 5432)), "d"),
        ("postgresql://u@a,b/d?port=1,2", (("a", 1), ("b", 2)), "d"),
        ("postgresql://u@a,b/d?port=7", (("a", 7), ("b", 7)), "d"),
        ("postgresql://[::1]:5433,[fe80::1]/d", (("::1", 5433), ("fe80::1", 5432)), "d"),
        ("postgresql:///d?host=/run/postgresql", (("/run/postgresql", 5432),), "d"),
        ("postgresql://%2Frun%2Fpostgresql/d", (("/run/postgresql", 5432),), "d"),
        ("postgresql://u@/d?host=a,b&port=5433", (("a", 5433), ("b", 5433)), "d"),
        ("postgresql:///?dbname=d", (), "d"),
    ],
)
def test_hosts_and_database(url: str, hosts: tuple[tuple[str, int], ...], database: str) -> None:
    place = place_of(url, None)
    assert (place.hosts, place.database) == (hosts, database)


def test_several_hosts_are_asked_for_writes() -> None:
    assert place_of("postgresql://a,b/d", None).session == "read-write"
    assert place_of("postgresql://a/d", None).session == "any"
    assert place_of("postgresql://a,b/d?target_session_attrs=any", None).session == "any"


@pytest.mark.parametrize("session", ["standby", "read-only", "prefer-standby", "writable"])
def test_a_session_that_takes_no_writes_is_refused(session: str) -> None:
    with pytest.raises(ConfigError, match=f"target_session_attrs is '{session}'.*allowed: any, read-write, primary"):
        place_of(f"postgresql://u:geheim@a/d?target_session_attrs={session}", None)


def test_the_configuration_goes_before_the_url() -> None:
    assert place_of("postgresql://a/d?sslmode=require", None).ssl == "require"
    assert place_of("postgresql://a/d?sslmode=require", "verify-full").ssl == "verify-full"
    assert place_of("postgresql://a/d", None).ssl is None


def test_asyncpg_is_given_what_it_knows() -> None:
    url = (
        "postgresql://u:p%40w@a,b/d?sslmode=require&channel_binding=require&connect_timeout=3&sslrootcert=system"
        "&application_name=till&target_session_attrs=primary&search_path=bar"
    )
    place = place_of(url, None)
    assert place.url == "postgresql://u:p%40w@/d?sslrootcert=system&application_name=till&search_path=bar"
    assert place.tls_files == {"sslrootcert": "system"}


def test_no_secret_is_shown() -> None:
    place = place_of("postgresql://till:geheim@db:5433,db2/venue?password=geheim", None)
    assert place.label == "PostgreSQL at db:5433,db2/venue"
    assert "geheim" not in repr(place)


@pytest.mark.parametrize(
    "url", ["postgresql://u:geheim@h:x/d", "postgresql://u:geheim@h:0/d", "postgresql://u:geheim@h:65536/d"]
)
def test_a_port_that_is_none(url: str) -> None:
    with pytest.raises(ConfigError, match="allowed is 1 to 65535") as refused:
        place_of(url, None)
    assert "geheim" not in str(refused.value)


def test_a_url_that_cannot_be_read() -> None:
    with pytest.raises(ConfigError, match="cannot be read") as refused:
        place_of("postgresql://u:geheim@[h/d?x", None)
    assert "geheim" not in str(refused.value)
