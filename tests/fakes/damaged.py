"""A store with its guard, as its process runs it, the crash that leaves its files, and the damage done to them."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from deora.documents.writes import decode_writes
from deora.store.damage import prepare
from deora.store.database import open_writer
from deora.store.guard import Guard
from deora.store.guarded import GuardedService
from deora.store.merging import replay_writes
from deora.store.replacing import Report, reports
from tests.fakes.checker import Findings, Outcome, Sent, check, logged, logs_of
from tests.fakes.connection import FaultyConnection
from tests.fakes.store import Claimed, StoreFile, update

NOW = "20260131T120000Z"


class GuardedStore(StoreFile):
    """A store that is examined when it is opened, and noted after each transaction, as `store.main` does it."""

    def open(self) -> None:
        """As the store's process starts."""
        sums = prepare(self.path, self.settings.upstreams, NOW)
        self.connection = FaultyConnection(open_writer(self.path))
        self.db = self.connection.as_connection()
        self.db.execute("PRAGMA synchronous = OFF")  # what a power cut leaves is not tested with this
        self.guard = Guard(self.path, sums)
        self.guard.follow()
        self.service = self.guarded = GuardedService(self.db, self.settings, self.clock, self.batch_ids)
        self.guarded.watch(self.path, self.guard)

    def stop(self) -> None:
        """As at a STOP."""
        self.guarded.finish()
        self.close()

    def close(self) -> None:
        """As at the end of the process, whatever the reason."""
        super().close()
        self.guard.close()

    def reports(self) -> list[Report]:
        """What operators are told."""
        return reports(self.path)


@dataclass(slots=True)
class Cloud:
    """An upstream: documents behind one cursor. `refuses`: the documents that it does not take."""

    documents: dict[str, bytes | None] = field(default_factory=dict)
    cursor: tuple[int, str] = (0, "")
    refuses: frozenset[str] = frozenset()

    def take(self, batch: Claimed) -> str:
        """What becomes of a batch: `applied`, `refused`, or `stopped` where the cursor was moved."""
        if self.cursor == (batch.seq + 1, batch.id):
            return "applied"
        if self.cursor != (batch.seq, batch.cursor_id):
            return "stopped"
        paths = {write.path for _, payload in batch.entries for write in decode_writes(payload)}
        if paths & self.refuses:
            return "refused"
        for _, payload in batch.entries:
            for path in {write.path for write in decode_writes(payload)}:
                self.documents[path] = replay_writes(self.documents.get(path), path, [payload])
        self.cursor = (batch.seq + 1, batch.id)
        return "applied"

    def logs(self) -> dict[str, list[str]]:
        """What took effect, by document."""
        return logs_of({path: orjson.loads(text) for path, text in self.documents.items() if text is not None})


class Evening:
    """Writes to a store, some of which have reached the cloud, and the truth about all of them.

    `history`: what clients know; `seen`: path -> all that the document has ever held; `truth`: what it holds.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        folder.mkdir(parents=True)
        self.dice = random.Random(seed)
        self.folder = folder
        self.cloud = Cloud(refuses=frozenset({"bills/refused"}))
        self.history: list[Sent] = []
        self.truth: dict[str, Any] = {}
        self.seen: dict[str, list[Any]] = {}
        self.store = GuardedStore(folder / "store.db")

    def write(self, count: int, *, path: str | None = None) -> None:
        """So many writes of clients, each in a transaction of its own."""
        for _ in range(count):
            where = path or f"bills/d{self.dice.randrange(40)}"
            token = f"t{len(self.history)}"
            fields = logged(token) | {"note": "x" * self.dice.randrange(200)}
            answer = self.store.commit(update(where, fields, upsert=True))
            self.history.append(Sent(token, where, Outcome.OK, answer.commit))
            self.truth[where] = self.store.view(where)
            self.seen.setdefault(where, []).append(self.truth[where])

    def deliver(self, batches: int, max_writes: int = 10, *, settling: bool = True) -> None:
        """So many batches reach the cloud; without `settling` the store never hears of the last."""
        for number in range(batches):
            batch = self.store.claim(max_writes=max_writes)
            assert batch is not None
            outcome = self.cloud.take(batch)
            if outcome == "applied" and (settling or number < batches - 1):
                self.store.settle(batch)
            elif outcome == "refused":
                self.cloud.cursor = (batch.seq + 1, f"fence:{batch.id}")
                self.store.settle(batch, "no")

    def checkpoint(self) -> None:
        """As a commit does where the WAL is long."""
        self.store.db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        self.store.handle()

    def crash(self, target: Path) -> None:
        """Leaves the files as a kill would, in another folder, while the store still runs."""
        shutil.copytree(self.folder, target)


def begin_evening(folder: Path, seed: int) -> Evening:
    """Delivered, refused, settled and waiting writes; some checkpointed, some in the WAL, one batch in flight."""
    evening = Evening(folder, seed)
    evening.write(90)
    evening.deliver(5)
    evening.checkpoint()
    evening.write(1, path="bills/refused")
    evening.deliver(5)
    evening.write(40)
    evening.checkpoint()
    evening.write(25)
    evening.deliver(2)
    evening.deliver(1, settling=False)
    evening.write(12)
    return evening


@dataclass(slots=True)
class Aftermath:
    """What a damaged store came to. `wrong`: documents that show what they never held, `missing`: that show less than
    the truth; `findings`: the cloud's log against the clients' history, once all is drained; `stopped`: the queue is
    paused, or the cursor is not where the store thinks it is."""

    reports: list[Report]
    wrong: list[str]
    missing: list[str]
    findings: Findings
    stopped: bool

    @property
    def is_whole(self) -> bool:
        """Whether nothing is amiss."""
        return not (self.wrong or self.missing or self.findings or self.stopped)

    @property
    def losses(self) -> list[str]:
        """All that operators are told to be lost."""
        return [line for report in self.reports for line in report.lost]


def reopen(evening: Evening, path: Path) -> Aftermath:
    """Opens the files at `path`, looks at every document, drains the queue, and judges. Raises StoreError."""
    cloud = deepcopy(evening.cloud)
    store = GuardedStore(path)
    try:
        wrong, missing = [], []
        for where, truth in evening.truth.items():
            shown = store.view(where)
            if shown != truth:
                missing.append(where)
                if shown is not None and shown not in evening.seen[where]:
                    wrong.append(where)
        paused = store.service.outbox.upstreams["primary"].paused
        if paused:
            # What an operator might do all the same: the cursor has to see to it that nothing comes twice.
            store.operate("pause", "primary", False)
        stopped = not _drain(store, cloud)
        applied = cloud.logs()
        # What has been applied is known to be so by the cursor, and waits for somebody who settles it. What is sent
        # again as a whole document replaces what waits before it.
        waiting = {
            path: [token for token in dict.fromkeys(tokens) if token not in applied.get(path, [])]
            for path, tokens in _queued(store).items()
        }
        found = check(evening.history, applied, waiting)
        return Aftermath(store.reports(), wrong, missing, found, stopped or paused)
    finally:
        store.stop()


def _drain(store: GuardedStore, cloud: Cloud) -> bool:
    """Delivers until nothing is left; whether the cursor let it."""
    while (batch := store.claim(max_writes=20)) is not None:
        outcome = cloud.take(batch)
        if outcome == "stopped":
            return False
        if outcome == "refused":
            cloud.cursor = (batch.seq + 1, f"fence:{batch.id}")
            if len(batch.entries) > 1:
                store.split(batch, list(range(1, len(batch.entries))))
            else:
                store.settle(batch, "no")
            continue
        store.settle(batch)
    return True


def _queued(store: GuardedStore) -> dict[str, list[str]]:
    """The tokens of what is left in the queue: dead, or waiting where the store has stopped."""
    found: dict[str, list[str]] = {}
    for (payload,) in store.rows("SELECT payload FROM entries WHERE state <> 1 ORDER BY id"):
        for write in decode_writes(payload):
            if write.op == "set" and write.data is not None:
                found.setdefault(write.path, []).extend(orjson.loads(write.data)["log"])
            elif write.op == "update":
                for segments, _, operand in orjson.loads(write.data or b"[]"):
                    if segments == ["log"]:
                        found.setdefault(write.path, []).extend(operand)
    return found


# -- what happens to files


def flip(file: Path, dice: random.Random) -> None:
    """One bit, anywhere."""
    data = bytearray(file.read_bytes())
    data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    file.write_bytes(data)


def cut(file: Path, dice: random.Random) -> None:
    """Ends the file anywhere."""
    with open(file, "r+b") as opened:
        opened.truncate(dice.randrange(file.stat().st_size))


def overwrite(file: Path, dice: random.Random) -> None:
    """One page becomes zeros, or garbage, as a worn flash chip gives."""
    with open(file, "r+b") as opened:
        opened.seek(dice.randrange(file.stat().st_size // 4096) * 4096)
        opened.write(dice.choice([bytes(4096), dice.randbytes(4096)]))


def delete(file: Path, dice: random.Random) -> None:
    """Takes the file away."""
    del dice
    file.unlink()


def scramble(file: Path, dice: random.Random) -> None:
    """Garbage from beginning to end."""
    file.write_bytes(dice.randbytes(file.stat().st_size))


DAMAGES: dict[str, tuple[str, Callable[[Path, random.Random], None]]] = {
    "a bit of the file": ("store.db", flip),
    "a bit of the WAL": ("store.db-wal", flip),
    "a bit of the sums": ("store.db-sums", flip),
    "a bit of the mark": ("store.db-mark", flip),
    "the file cut": ("store.db", cut),
    "the WAL cut": ("store.db-wal", cut),
    "a page of the file": ("store.db", overwrite),
    "a page of the WAL": ("store.db-wal", overwrite),
    "no index": ("store.db-shm", delete),
    "garbage as index": ("store.db-shm", scramble),
    "no WAL": ("store.db-wal", delete),
    "no file": ("store.db", delete),
    "garbage as file": ("store.db", scramble),
}
