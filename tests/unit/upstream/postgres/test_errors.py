"""SQLSTATEs: the table of what becomes of them."""

from __future__ import annotations

import pytest

from deora.upstream.base import Unauthorised, Unclear
from deora.upstream.postgres.errors import Kind, failure, kind_of_code, worded


@pytest.mark.parametrize(
    ("kind", "codes"),
    [
        (Kind.TRANSIENT, "08006 08P01 53100 53300 55P03 57014 57P01 57P03 58030 XX000 XX001 25P02 26000 HV000 ? 99999"),
        (Kind.SETUP, "28000 28P01 3D000 3F000 42501"),
        (
            Kind.DOCUMENT,
            "21000 22001 22003 22P02 22P05 23502 23503 23505 23514 23P01 42601 44000 54000 P0001 0A000 09000",
        ),
        (Kind.RACE, "40001 40P01"),
        (Kind.READ_ONLY, "25006"),
        (Kind.STALE, "42P01 42703 42704 42804 42883 42P10"),
    ],
)
def test_a_code_says_what_to_do(kind: Kind, codes: str) -> None:
    assert {code: kind_of_code(code) for code in codes.split()} == dict.fromkeys(codes.split(), kind)


def test_the_words_are_postgresqls_without_the_row() -> None:
    assert (
        worded("23505", "duplicate key", "Key (id)=(5) already exists.")
        == "duplicate key: Key (id)=(5) already exists."
    )
    assert worded("22P02", "invalid input", None) == "invalid input"
    for code in ("23502", "23514", "44000"):
        assert worded(code, "refused", "Failing row contains (5, secret).") == "refused"


def test_what_fails_outside_of_a_document_kills_none() -> None:
    assert failure("db", "57P03", "starting up") == Unclear("db: starting up")
    assert failure("db", "28P01", "no") == Unauthorised("db: no")
    assert failure("db", "22003", "the cursor overflows") == Unauthorised("db: the cursor overflows")
    assert failure("db", "42P01", "no table") == Unclear("db: no table")


def test_a_read_only_server_is_left_where_there_are_others() -> None:
    assert isinstance(failure("db", "25006", "read-only", several_hosts=True), Unclear)
    alone = failure("db", "25006", "cannot execute INSERT in a read-only transaction")
    assert isinstance(alone, Unauthorised)
    assert "host1,host2" in alone.message
