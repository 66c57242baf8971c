"""What operators do to the queue: retry, drop, pause, import, and go on without what was lost."""

from __future__ import annotations

from typing import Any, Final

from deora.errors import Problem
from deora.outbox.figures import Upstream
from deora.outbox.storage import Outbox
from deora.store.errands import Steps
from deora.store.imports import Imports
from deora.store.restored import Restored
from deora.store.settlements import Settlements

# Within one step: some 10 ms.
RETRIED_AT_ONCE: Final = 200
# Of so many entries it is said why they were kept back; the others are counted.
KEPT_SHOWN: Final = 1000


class Operations:
    """Works within the transaction that the store has begun. Each operation returns its answer's JSON members."""

    def __init__(self, settlements: Settlements, outbox: Outbox, restored: Restored, imports: Imports) -> None:
        self._settlements = settlements
        self._outbox = outbox
        self._restored = restored
        self._imports = imports

    def run(self, operation: str, parts: list[Any]) -> dict[str, Any] | Steps:
        """An operation as a worker packed it: its name, and what it takes. Raises Problem, leaving nothing behind.

        What takes long is an errand, which returns the same.
        """
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
            return self._retry_dead(self.named(name))
        if operation == "acceptLoss":
            [upstream] = self.named(*parts)
            return self._restored.accept(upstream)
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

    def _retry_dead(self, upstreams: list[Upstream]) -> Steps:
        """Each dead entry once, oldest first; one that goes dead again meanwhile stays so."""
        retried = more = 0
        kept: list[dict[str, Any]] = []
        while self._outbox.join_some(of_all=True):
            yield
        for upstream in upstreams:
            after = 0
            while ids := self._settlements.dead_ids(upstream, after, RETRIED_AT_ONCE):
                after = ids[-1]
                for entry_id in ids:
                    try:
                        self._settlements.retry(entry_id, force=False)
                        retried += 1
                    except Problem as problem:
                        if len(kept) < KEPT_SHOWN:
                            kept.append({"id": entry_id, "detail": problem.detail})
                        else:
                            more += 1
                yield
        return {"retried": retried, "kept": kept} | ({"keptMore": more} if more else {})

    def _pause(self, name: str | None, paused: bool) -> dict[str, Any]:
        upstreams = self.named(name)
        for upstream in upstreams:
            upstream.paused = paused
            upstream.changed = True
        return {"paused": paused, "upstreams": [upstream.name for upstream in upstreams]}
