"""Taking over entries that another box accepted, a page at a time, each exactly once.

Before a page comes here its cursors upstream carry this box's marker (`replay.takeover`): their source sends nothing
any more, and what they covered then is known. So an entry is in one of three places. It is upstream: passed over. It
has come in before, whatever has become of it since: passed over. Else it is taken in, in the transaction that notes
its number. A page that is sent again changes nothing.

What waits is shown by the documents' views as a client's own write would be. A document that this box did not hold, and
whose entries build on what upstream has, was adopted first (`worker.handlers.exchange`); that is later than the marker,
so its copy holds exactly what the source had applied.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from deora.clock import Clock
from deora.documents.writes import Write, decode_writes
from deora.errors import Problem
from deora.outbox.arrivals import Arrival, take_in
from deora.outbox.figures import Upstream
from deora.outbox.origins import Origin
from deora.outbox.storage import OVERHEAD_BYTES, Outbox
from deora.store.commits import Committer
from deora.store.identity import Progress
from deora.store.merging import replay_writes
from deora.store.settlements import PRIMARY, Settlements
from deora.store.view import Documents

# What a page says of each entry.
PENDING, DEAD, APPLIED = 0, 1, 2


@dataclass(slots=True)
class _Source:
    """Whose entries of which upstream a page brings. `numbers`: all of them that are not upstream."""

    upstream: Upstream
    node: str
    epoch: str
    is_own: bool
    numbers: list[int] = field(default_factory=list)
    known: set[int] = field(default_factory=set)


@dataclass(slots=True)
class _New:
    """An entry that is to come in. `commit` tells which entries were one commit at their source."""

    source: _Source
    commit: int
    writes: list[Write]
    arrival: Arrival


class Imports:
    """Works within the transaction that the store has begun."""

    def __init__(
        self,
        documents: Documents,
        outbox: Outbox,
        progress: Progress,
        clock: Clock,
        node: str,
        settlements: Settlements,
        committer: Committer,
    ) -> None:
        self._documents = documents
        self._outbox = outbox
        self._progress = progress
        self._clock = clock
        self._node = node
        self._settlements = settlements
        self._committer = committer

    def run(self, sources: list[list[str]], entries: list[list[Any]]) -> dict[str, int]:
        """A page: `sources` are [upstream, node, epoch], `entries` [index of the source, fate, number, priority,
        created, commit, attempts, error, payload], in their order.

        Raises Problem, leaving nothing behind. Returns how many came in, how many upstream has, and how many this store
        has.
        """
        known = [self._source(*source) for source in sources]
        new = self._new(known, entries)
        applied = sum(entry[1] == APPLIED for entry in entries)
        self._committer.reserve(len(new), sum(len(one.arrival.payload) + OVERHEAD_BYTES for one in new))
        self._documents.preload({write.path for one in new for write in one.writes})
        self._take_in(new)
        here = len(entries) - applied - len(new)
        return {"imported": len(new), "alreadyUpstream": applied, "alreadyHere": here}

    # -- what is new

    def _source(self, name: str, node: str, epoch: str) -> _Source:
        upstream = self._outbox.upstreams.get(name)
        if upstream is None:
            raise Problem(
                "conflict",
                f"entries are for the upstream {name!r}; configured here: {', '.join(self._outbox.upstreams)}",
                hint="configure that upstream in database.json as it was on the other box",
            )
        return _Source(upstream, node, epoch, (node, epoch) == (self._node, self._progress.epoch))

    def _new(self, sources: list[_Source], entries: list[list[Any]]) -> list[_New]:
        for index, fate, number, *_ in entries:
            if fate != APPLIED:
                sources[index].numbers.append(number)
        for source in sources:
            source.known = self._known(source)
        new = []
        for index, fate, number, priority, created_us, commit, attempts, error, payload in entries:
            source = sources[index]
            if fate != APPLIED and number not in source.known:
                source.known.add(number)
                writes = decode_writes(payload)
                arrival = Arrival(number, fate == DEAD, priority, created_us, attempts, error, len(writes), payload)
                new.append(_New(source, commit, writes, arrival))
        return new

    def _known(self, source: _Source) -> set[int]:
        """Those of a source's numbers that need not come in any more."""
        upstream = source.upstream
        if not source.is_own:
            origin = self._outbox.origins.find(upstream.id, source.node, source.epoch)
            return self._outbox.origins.known(origin, source.numbers) if origin is not None else set()
        # Each number of ours was given by this store, which has settled it or still holds it.
        beyond = [number for number in source.numbers if number > upstream.number]
        if beyond:
            raise Problem(
                "conflict",
                f"the file has entry {max(beyond)} of this very store, which has accepted {upstream.number} so far:"
                " the store is an older copy of itself",
                hint="stop it and start with a new data directory; then import the file there",
            )
        return set(source.numbers)

    # -- taking in

    def _take_in(self, new: list[_New]) -> None:
        gathered: dict[str, list[tuple[int, int, Origin, list[int], Arrival]]] = {}
        now_us = self._clock.wall_us()
        last: tuple[str, str, int] | None = None
        for one in new:
            source = one.source
            commit = (source.node, source.epoch, one.commit)
            if commit != last:
                self._progress.commit_no += 1
                last = commit
            documents = self._show(one, now_us)
            origin = self._outbox.origins.add(source.upstream.id, source.node, source.epoch)
            self._progress.entry_id += 1
            arrived = (self._progress.entry_id, self._progress.commit_no, origin, documents, one.arrival)
            gathered.setdefault(source.upstream.name, []).append(arrived)
        for name, arrivals in gathered.items():
            upstream = self._outbox.upstreams[name]
            holds = self._settlements.dead_holds
            take_in(self._outbox.database, upstream, arrivals, self._progress.running_s, holds=holds)
            for origin in {arrived[2] for arrived in arrivals}:
                self._outbox.origins.note(origin, [each[4].number for each in arrivals if each[2] is origin])

    def _show(self, one: _New, now_us: int) -> list[int]:
        """Puts an entry into the views of its documents; their ids."""
        ids = []
        for path in dict.fromkeys(write.path for write in one.writes):
            document = self._documents.get(path)
            if document is None:
                document = self._documents.create(path)
                document.checked_us = now_us
            view = document.view
            if one.source.upstream.name == PRIMARY:
                document.keep_base()
                document.pending += int(not one.arrival.dead)
                document.dead += int(one.arrival.dead)
                view = replay_writes(view, path, [one.arrival.payload])
            document.show(view, self._progress.version(), self._progress.commit_no, now_us)
            self._documents.changed(path, document)
            self._settlements.notices[path] = None
            ids.append(document.id)
        return ids
