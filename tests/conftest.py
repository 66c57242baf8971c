"""What all tests share: how hypothesis runs, and the servers that run for a whole session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.fakes.firestore import FakeFirestore
from tests.fakes.firestore_emulator import start_emulator

# Random on every run, and a failure prints what reproduces it. The machine may be busy, so no example has a deadline.
settings.register_profile("deora", derandomize=False, print_blob=True, deadline=None)
settings.load_profile("deora")


@pytest.fixture(scope="session")
def firestore_emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Host and port of Google's emulator; skips where it is not installed."""
    host, process = start_emulator(tmp_path_factory.mktemp("emulator"))
    yield host
    if process is not None:
        process.stop()


@pytest.fixture(scope="session")
def firestore_fake() -> Iterator[str]:
    """Host and port of this repository's fake."""
    with FakeFirestore() as fake:
        yield fake.host
