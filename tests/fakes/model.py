"""The store as a dict and a list: what documents, outbox and upstreams must hold, worked out the slow and plain way.

Nothing here is shared with the code under test: writes are applied to Python values, entries stand in one list.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

Data = dict[str, Any]

PRIMARY = "primary"
LIVE = ("pending", "inflight")


class Refusal(Exception):
    """A write that does not hold; `status` is its HTTP status."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


@dataclass(frozen=True)
class Plain:
    """A write. `data` are the members of a set or a create, the fields of an update."""

    op: str
    path: str
    data: Data = field(default_factory=dict)
    upsert: bool = False
    if_version: str | None = None
    if_absent: bool = False


def apply_plain(before: Data | None, write: Plain) -> Data | None:
    """The document after a write. Raises Refusal(404) or Refusal(409)."""
    if write.op == "delete":
        return None
    if write.op == "create" and before is not None:
        raise Refusal(409)
    if write.op in ("set", "create"):
        return copy.deepcopy(write.data)
    if before is None and not write.upsert:
        raise Refusal(404)
    after = copy.deepcopy(before) or {}
    for name, value in copy.deepcopy(write.data).items():
        *parents, last = name.split(".")
        operator = next(iter(value)) if isinstance(value, dict) and len(value) == 1 else ""
        if operator == "$delete":
            holder: Any = after
            for parent in parents:
                holder = holder.get(parent) if isinstance(holder, dict) else None
            if isinstance(holder, dict):
                holder.pop(last, None)
            continue
        holder = after
        for parent in parents:
            if not isinstance(holder.get(parent), dict):
                holder[parent] = {}
            holder = holder[parent]
        holder[last] = operate(operator, holder.get(last), value)
    return after


def operate(operator: str, stored: Any, value: Any) -> Any:
    """What an operator leaves in its field."""
    if operator not in ("$increment", "$max", "$min", "$arrayUnion", "$arrayRemove"):
        return value
    operand = value[operator]
    if operator == "$arrayUnion":
        found = stored if isinstance(stored, list) else []
        return found + [item for index, item in enumerate(operand) if item not in found + operand[:index]]
    if operator == "$arrayRemove":
        return [item for item in stored if item not in operand] if isinstance(stored, list) else []
    if not isinstance(stored, int | float):
        return operand
    if operator == "$increment":
        return stored + operand
    better = operand > stored if operator == "$max" else operand < stored
    return operand if better else stored


def at_time(write: Plain, now_us: int) -> Plain:
    """The write with this time in place of each $serverTimestamp."""
    now = {"$timestamp": datetime.fromtimestamp(now_us / 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")}
    fields = {name: now if value == {"$serverTimestamp": True} else value for name, value in write.data.items()}
    return replace(write, data=fields) if write.op == "update" else write


@dataclass
class Entry:
    """A commit for one upstream."""

    id: int
    upstream: str
    number: int
    commit: int
    writes: list[Plain]
    state: str = "pending"
    retried: bool = False

    @property
    def paths(self) -> list[str]:
        """The documents that it touches."""
        return list(dict.fromkeys(write.path for write in self.writes))


@dataclass
class Document:
    """What clients see (`view`) and what the primary upstream holds (`base`); `commit` is the last that touched it."""

    view: Data | None = None
    version: str = ""
    base: Data | None = None
    commit: int = 0


@dataclass
class Verdict:
    """What the store must answer. `commit` and `versions` (of documents that exist then) stand where it took writes."""

    status: int
    commit: int = 0
    versions: dict[str, str] = field(default_factory=dict)


class Model:
    """Documents and entries of a store with this epoch."""

    def __init__(self, epoch: str, upstreams: Iterable[str], *, holds: bool) -> None:
        self.epoch = epoch
        self.holds = holds
        self.numbers = dict.fromkeys(upstreams, 0)
        self.commits = 0
        self.documents: dict[str, Document] = {}
        self.entries: list[Entry] = []
        self.keys: dict[bytes, tuple[bytes, Verdict]] = {}

    # -- looking

    def document(self, path: str) -> Document:
        """A document, also one that has never been."""
        return self.documents.setdefault(path, Document())

    def entry(self, ident: int) -> Entry | None:
        """An entry that has not been dropped."""
        return next((entry for entry in self.entries if entry.id == ident and entry.state != "dropped"), None)

    def of(self, upstream: str, *states: str) -> list[Entry]:
        """The entries of an upstream in these states."""
        return [entry for entry in self.entries if entry.upstream == upstream and entry.state in states]

    def count(self, path: str, *states: str) -> int:
        """How many of the primary upstream's entries in these states touch a document."""
        return sum(path in entry.paths for entry in self.of(PRIMARY, *states))

    def by_number(self, upstream: str, number: int) -> Entry:
        """An entry by its number, which is unique for its upstream."""
        [found] = [entry for entry in self.entries if (entry.upstream, entry.number) == (upstream, number)]
        return found

    # -- clients

    def commit(self, writes: list[Plain], now_us: int, key: bytes | None, fingerprint: bytes) -> Verdict:
        """Judges and takes the writes of one request."""
        if key is not None and key in self.keys:
            known, verdict = self.keys[key]
            return verdict if known == fingerprint else Verdict(422)
        try:
            views = self._judged(writes, now_us)
        except Refusal as refusal:
            return Verdict(refusal.status)
        self.commits += 1
        for path, view in views.items():
            self._show(path, view)
            self.document(path).commit = self.commits
        for upstream in self.numbers:
            self.numbers[upstream] += 1
            resolved = [at_time(write, now_us) for write in writes]
            ident = len(self.entries) + 1
            self.entries.append(Entry(ident, upstream, self.numbers[upstream], self.commits, resolved))
        versions = {path: self.document(path).version for path, view in views.items() if view is not None}
        verdict = Verdict(200, self.commits, versions)
        if key is not None:
            self.keys[key] = (fingerprint, verdict)
        return verdict

    def _judged(self, writes: list[Plain], now_us: int) -> dict[str, Data | None]:
        views: dict[str, Data | None] = {}
        for write in writes:
            document = self.document(write.path)
            view = views.get(write.path, document.view)
            if write.if_absent and view is not None:
                raise Refusal(412)
            if write.if_version is not None and (view is None or write.if_version not in ("*", document.version)):
                raise Refusal(412)
            views[write.path] = apply_plain(view, at_time(write, now_us))
        return views

    def _show(self, path: str, view: Data | None) -> None:
        document = self.document(path)
        if not same(view, document.view):
            document.version = f"{self.epoch}-{self.commits}"
        document.view = view

    # -- operators

    def retry(self, ident: int, *, force: bool) -> Verdict:
        """Sends a dead entry once more."""
        entry = self.entry(ident)
        if entry is None:
            return Verdict(404)
        overtaken = any(self.document(path).commit > entry.commit for path in entry.paths)
        if entry.state != "dead" or (overtaken and not force and not self.holds):
            return Verdict(409)
        self.numbers[entry.upstream] += 1
        entry.number = self.numbers[entry.upstream]
        entry.state, entry.retried = "pending", True
        self._review(entry)
        return Verdict(200)

    def drop(self, ident: int) -> Verdict:
        """Gives a dead entry up."""
        entry = self.entry(ident)
        if entry is None:
            return Verdict(404)
        if entry.state != "dead":
            return Verdict(409)
        entry.state = "dropped"
        self._review(entry)
        return Verdict(200)

    def _review(self, decided: Entry) -> None:
        if decided.upstream != PRIMARY:
            return
        self.commits += 1
        for path in decided.paths:
            self._show(path, self.worked_out(path))

    def worked_out(self, path: str) -> Data | None:
        """The view as base and unsettled writes give it: by age, but what is in flight before what only waits."""
        entries = [entry for entry in self.of(PRIMARY, *LIVE, "dead") if path in entry.paths]
        last = max((entry.id for entry in entries if entry.state == "inflight"), default=0)
        late = [entry for entry in entries if entry.state == "pending" and entry.id < last]
        view = self.document(path).base
        for entry in sorted(entries, key=lambda entry: (last, entry.id) if entry in late else (entry.id, 0)):
            view = applied_to(view, entry, path)
        return view

    # -- upstream

    def settle(self, upstream: str, numbers: list[int], *, dead: bool) -> None:
        """Upstream has applied these entries, or refused them."""
        for number in numbers:
            entry = self.by_number(upstream, number)
            assert entry.state == "inflight"
            entry.state = "dead" if dead else "done"
            if upstream == PRIMARY and not dead:
                for path in entry.paths:
                    document = self.document(path)
                    document.base = applied_to(document.base, entry, path)


def applied_to(view: Data | None, entry: Entry, path: str) -> Data | None:
    """A document after what an entry does to it; what does not apply changes nothing."""
    for write in entry.writes:
        if write.path == path:
            try:
                view = apply_plain(view, write)
            except Refusal:
                continue
    return view


def same(one: Any, other: Any) -> bool:
    """Equal, and equal in type: 1 is not 1.0."""
    return repr(ordered(one)) == repr(ordered(other))


def ordered(value: Any) -> Any:
    """The value with the members of each object sorted."""
    if isinstance(value, dict):
        return {name: ordered(value[name]) for name in sorted(value)}
    return [ordered(item) for item in value] if isinstance(value, list) else value


class Cloud:
    """An upstream: documents, a cursor, and a log of every entry that took effect."""

    def __init__(self, entry_of: Callable[[int], Entry]) -> None:
        self.entry_of = entry_of
        self.documents: dict[str, Data] = {}
        self.seq = 0
        self.cursor_id = ""
        self.log: list[Entry] = []
        self.bad: set[int] = set()

    def apply(self, seq: int, cursor_id: str, batch_id: str, numbers: list[int]) -> int | None:
        """Applies a batch whole and moves the cursor; or changes nothing and returns the index of what it refuses."""
        assert (self.seq, self.cursor_id) == (seq, cursor_id)
        documents: dict[str, Data | None] = dict(copy.deepcopy(self.documents))
        for index, number in enumerate(numbers):
            try:
                for write in self.entry_of(number).writes:
                    documents[write.path] = apply_plain(documents.get(write.path), write)
            except Refusal:
                return index
            if number in self.bad:
                return index
        self.documents = {path: data for path, data in documents.items() if data is not None}
        self.log += [self.entry_of(number) for number in numbers]
        self.seq, self.cursor_id = seq + 1, batch_id
        return None

    def fence(self, seq: int, cursor_id: str, batch_id: str) -> None:
        """Takes a batch's seq away from it."""
        assert (self.seq, self.cursor_id) == (seq, cursor_id)
        self.seq, self.cursor_id = seq + 1, f"fence:{batch_id}"
