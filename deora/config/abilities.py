"""The keys that the configuration has and this version does not act on yet.

One that protects the venue, or says where its data goes, refuses to start when it is changed: to go on without it would
be worse. The rest is named in the log at start-up. docs/configuration.md lists both.
"""

from __future__ import annotations

from typing import Final

REFUSED: Final = ("loadbalancer.sticky",)
IDLE: Final = (
    "servers.max_memory",
    "servers.drain_timeout_s",
    "loadbalancer.health_check",
    "security.limits.streams",
    "operations",
)
