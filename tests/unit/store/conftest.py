"""A store for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deora.store.service import Settings
from tests.fakes.store import StoreFile


@pytest.fixture
def make_store(tmp_path: Path) -> Iterator[Callable[[Settings], StoreFile]]:
    """`make_store(settings)` opens a store on a file of its own; all are closed at the end."""
    made: list[StoreFile] = []

    def make(settings: Settings) -> StoreFile:
        made.append(StoreFile(tmp_path / f"store-{len(made)}.db", settings))
        return made[-1]

    yield make
    for store in made:
        store.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StoreFile]:
    """A store with one upstream."""
    found = StoreFile(tmp_path / "store.db")
    yield found
    found.close()
