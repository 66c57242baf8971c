"""What all tests share: how hypothesis runs, and the servers that run for a whole session."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from bench.peers.firestore_emulator import start_emulator
from bench.processes import NotMeasuredError
from tests.fakes.firestore import FakeFirestore

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


@pytest.fixture(scope="session")
def firestore_emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Host and port of Google's emulator: a running one that the environment names, else one that is started here."""
    running = os.environ.get("FIRESTORE_EMULATOR_HOST")
    if running:
        yield running
        return
    try:
        host, process = start_emulator(tmp_path_factory.mktemp("emulator"))
    except NotMeasuredError as missing:
        pytest.skip(f"{missing}, or a running one in FIRESTORE_EMULATOR_HOST")
    with process:
        yield host


@pytest.fixture(scope="session")
def firestore_fake() -> Iterator[str]:
    """Host and port of this repository's fake."""
    with FakeFirestore() as fake:
        yield fake.host
