"""The tiers behind the store, asked in their order: Redis where it is configured, then the disk.

What one finds is not put into those before it: the two are near enough to each other in speed, and a copy that is not
fresh any more is fetched anew and then put into both.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from deora.cache.copies import CachedCopy, Moment, decode_copy, encode_copy


class Tier(Protocol):
    """Bytes under paths. No method raises: a tier knows, or it does not."""

    async def get(self, path: str) -> bytes | None:
        """The bytes kept under this path, None where there are none."""

    async def put(self, path: str, value: bytes) -> None:
        """Keeps bytes."""

    async def drop(self, paths: list[str]) -> None:
        """Forgets these."""

    async def close(self) -> None:
        """Lets go of connections, files and threads."""


@dataclass(slots=True)
class Counted:
    """A tier and how often it had what was asked of it."""

    tier: Tier
    hits: int = 0
    misses: int = 0


@dataclass(slots=True)
class Tiers:
    """Copies of upstream documents, by tier; none that is older than `ttl_s`, whatever a tier's own clock says."""

    ttl_s: float
    by_name: dict[str, Counted] = field(default_factory=dict)

    def add(self, name: str, tier: Tier) -> None:
        """One more tier, asked after those before it."""
        self.by_name[name] = Counted(tier)

    def figures(self) -> dict[str, dict[str, int]]:
        """Tier -> hits and misses."""
        return {name: {"hits": one.hits, "misses": one.misses} for name, one in self.by_name.items()}

    async def get(self, path: str, now: Moment) -> CachedCopy | None:
        """The copy of a document, from the first tier that has one."""
        for one in self.by_name.values():
            value = await one.tier.get(path)
            copy = decode_copy(value, path) if value is not None else None
            if copy is not None and not copy.has_expired(now, self.ttl_s):
                one.hits += 1
                return copy
            one.misses += 1
        return None

    async def put(self, copy: CachedCopy) -> None:
        """Keeps a copy in every tier."""
        value = encode_copy(copy)
        for one in self.by_name.values():
            await one.tier.put(copy.path, value)

    async def drop(self, path: str) -> None:
        """Forgets a copy in every tier."""
        for one in self.by_name.values():
            await one.tier.drop([path])

    async def close(self) -> None:
        """Closes every tier."""
        for one in self.by_name.values():
            await one.tier.close()
