"""What tests with children need, real ones and mere processes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from deora.supervisor.process import _PR_SET_CHILD_SUBREAPER, _prctl, become_subreaper
from tests.fakes.arbiter import Arbitrate, arbitration


@pytest.fixture
def arbitrate(monkeypatch: pytest.MonkeyPatch) -> Arbitrate:
    """See `tests.fakes.arbiter.arbitration`."""
    return arbitration(monkeypatch)


@pytest.fixture
def subreaper() -> Iterator[None]:
    """Makes the test's process the parent of what a zygote forks, as the supervisor is, for as long as the test."""
    become_subreaper()
    yield
    _prctl(_PR_SET_CHILD_SUBREAPER, 0)
