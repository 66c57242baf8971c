"""What tests with real children need."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from deora.supervisor.process import _PR_SET_CHILD_SUBREAPER, _prctl, become_subreaper


@pytest.fixture
def subreaper() -> Iterator[None]:
    """Makes the test's process the parent of what a zygote forks, as the supervisor is, for as long as the test."""
    become_subreaper()
    yield
    _prctl(_PR_SET_CHILD_SUBREAPER, 0)
