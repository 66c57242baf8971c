"""Fault tests use real instances, started and ended as the process tests do."""

from tests.process.conftest import instance

__all__ = ["instance"]
