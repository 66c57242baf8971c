"""What all tests share: how hypothesis runs, and one PostgreSQL for the whole session."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from tests.fakes.postgres import Server

# Random on every run, and a failure prints what reproduces it. The machine may be busy, so no example has a deadline.
settings.register_profile("deora", derandomize=False, print_blob=True, deadline=None)
settings.load_profile("deora")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """A running PostgreSQL; each test makes a database or a schema of its own in it."""
    from tests.fakes.postgres import running

    with running() as server:
        yield server
