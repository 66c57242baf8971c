"""What all tests share: how hypothesis runs."""

from __future__ import annotations

from hypothesis import settings

# Random on every run, and a failure prints what reproduces it. The machine may be busy, so no example has a deadline.
settings.register_profile("deora", derandomize=False, print_blob=True, deadline=None)
settings.load_profile("deora")
