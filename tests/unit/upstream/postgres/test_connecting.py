"""What asyncpg is told of encryption (tests/postgres checks real certificates)."""

from __future__ import annotations

import asyncpg
import pytest

from deora.upstream.postgres.connecting import encryption
from deora.upstream.postgres.dsn import place_of


@pytest.mark.parametrize("name", ["sslrootcert", "sslcert", "sslkey"])
def test_a_file_that_is_not_there_is_named(name: str) -> None:
    place = place_of(f"postgresql://u:secret@h/d?sslmode=verify-full&{name}=/no/such.pem", None)
    with pytest.raises(asyncpg.ClientConfigurationError) as caught:
        encryption(place)
    assert str(caught.value) == f"{name} names /no/such.pem, which is no file"


def test_without_a_check_of_the_certificate_no_file_is_looked_for() -> None:
    assert encryption(place_of("postgresql://h/d?sslmode=require&sslrootcert=/no/such.pem", None)) == "require"
