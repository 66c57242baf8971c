"""The keys that the configuration has and this version does not act on yet.

Nothing is ignored in silence: those that were changed are named in the log at start-up, and docs/configuration.md lists
them all.
"""

from __future__ import annotations

from typing import Final

IDLE: Final = ("operations.backup",)
