"""What operators do to the queue: retry, drop, pause, import."""

from __future__ import annotations

from typing import Any, Final

from deora.errors import Problem
from deora.outbox.figures import Upstream
from deora.outbox.storage import Outbox
from deora.store.imports import Imports
from deora.store.settlements import Settlements

RETRIED_AT_ONCE: Final = 1000


class Operations:
    """Works within the transaction that the store has begun. Each operation returns its answer's JSON members."""

    def __init__(self, settlements: Settlements, outbox: Outbox, imports: Imports) -> None:
        self._settlements = settlements
        self._outbox = outbox
        self._imports = imports

    def run(self, operation: str, parts: list[Any]) -> dict[str, Any]:
        """An operation as a worker packed it: its name, and what it takes. Raises Problem, leaving nothing behind."""
        if operation == "retry":
            entry_id, force = parts
            self._settlements.retry(entry_id, force=force)
            return {"id": entry_id, "state": "pending"}
        if operation == "drop":
            [entry_id] = parts
            self._settlements.drop(entry_id)
            return {"id": entry_id, "dropped": True}
        if operation == "retryDead":
            [name] = parts
            return self._retry_dead(name)
        if operation == "import":
            return self._imports.run(*parts)
        name, paused = parts
        return self._pause(name, paused)

    def named(self, name: str | None) -> list[Upstream]:
        """The upstream of this name; all of them where no name is given. Raises Problem("not-found")."""
        if name is None:
            return list(self._outbox.upstreams.values())
        if name not in self._outbox.upstreams:
            raise Problem(
                "not-found",
                f"there is no upstream {name!r}; configured: {', '.join(self._outbox.upstreams)}",
                hint="upstreams are named in database.json",
            )
        return [self._outbox.upstreams[name]]

    def _retry_dead(self, name: str | None) -> dict[str, Any]:
        retried, kept = [], []
        for upstream in self.named(name):
            for entry_id in self._settlements.dead_ids(upstream, RETRIED_AT_ONCE):
                try:
                    self._settlements.retry(entry_id, force=False)
                    retried.append(entry_id)
                except Problem as problem:
                    kept.append({"id": entry_id, "detail": problem.detail})
        return {"retried": len(retried), "kept": kept}

    def _pause(self, name: str | None, paused: bool) -> dict[str, Any]:
        upstreams = self.named(name)
        for upstream in upstreams:
            upstream.paused = paused
            upstream.changed = True
        return {"paused": paused, "upstreams": [upstream.name for upstream in upstreams]}
