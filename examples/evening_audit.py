"""The audit of an evening: what was acknowledged, what the API shows and what upstream holds must be the same.

Documents that one till wrote are compared whole. Documents that several tills wrote are compared by what commutes:
increments, maxima and unions give the same result in any order, while an overwritten field belongs to whoever came
last, which no till can know. Between the API and upstream every field of every document must be equal.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import quote

from evening_till import Connection, Document, EveningError, Ledger, Till, canonical, differences

# Collections that several tills write, with the fields that the last writer decides.
SHARED: dict[str, set[str]] = {"stock": set(), "takings": set(), "tables": {"status"}}

STANDSTILL_S = 60  # a queue that has not become shorter for this long does not drain


def in_parallel(jobs: Sequence[Callable[[], None]]) -> None:
    """Run each job in a thread of its own and wait for all of them."""
    threads = [threading.Thread(target=job, daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def wait_until_drained(connection: Connection) -> None:
    """Return once no entry waits or is on its way; an error if the queue stands still."""
    shortest, changed_at = None, time.monotonic()
    while True:
        queue = connection.get("/v1/queue")
        waiting = queue["pending"] + queue["inflight"]
        if waiting == 0:
            return
        if shortest is None or waiting < shortest:
            shortest, changed_at = waiting, time.monotonic()
        if time.monotonic() - changed_at > STANDSTILL_S:
            raise EveningError(f"the queue has not become shorter for {STANDSTILL_S} s: {json.dumps(queue)}")
        time.sleep(0.05)


def read_upstream(file: Path, run: str) -> dict[str, Document]:
    """The documents of one run in the file of the embedded `sqlite` upstream, path to data."""
    if not file.is_file():
        raise EveningError(f"there is no file {file}: --upstream names upstream.db in the instance's data directory")
    connection = sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)
    try:
        rows = connection.execute("SELECT path, collection, id, data FROM deora_documents").fetchall()
    except sqlite3.DatabaseError as error:
        raise EveningError(f"{file} is not the file of a sqlite upstream: {error}") from error
    finally:
        connection.close()
    documents = {}
    for path, collection, name, text in rows:
        if f"{collection}/{name}" != path:
            raise EveningError(f"upstream holds {path} as collection {collection!r}, id {name!r}")
        data = json.loads(text)
        if data.get("evening") == run:
            documents[path] = data
    return documents


class Audit:
    """Compares ledger, API and upstream of one run; `problems` says what differs, `counters` how many were summed."""

    def __init__(self, ledger: Ledger, run: str, upstream: Path) -> None:
        self.ledger = ledger
        self.upstream = read_upstream(upstream, run)
        self.problems: list[str] = []
        self.counters = 0

    def compare_upstream(self) -> None:
        """Ledger against upstream: the same documents, the same content."""
        acknowledged = self.ledger.documents
        self._note("upstream lacks", sorted(acknowledged.keys() - self.upstream.keys()))
        self._note("upstream holds, though nobody wrote it,", sorted(self.upstream.keys() - acknowledged.keys()))
        for path in sorted(acknowledged.keys() & self.upstream.keys()):
            self._compare(path, "upstream", acknowledged[path], self.upstream[path])
            if path.split("/")[0] in SHARED:
                self.counters += sum(type(value) is int for value in acknowledged[path].values())

    def compare_api(self, tills: Sequence[Till]) -> None:
        """API against ledger and upstream, document by document; the tills share the reading."""
        paths = sorted(self.ledger.documents)
        gone = sorted(self.ledger.deleted)

        def read_share(till: Till, number: int) -> None:
            for path in paths[number :: len(tills)]:
                self._compare_document(till.connection, path)
            for path in gone[number :: len(tills)]:
                status, _ = till.connection.send("GET", f"/v1/documents/{quote(path)}")
                if status != 404:
                    self.problems.append(f"{path} was deleted, but reading it answers {status}")

        in_parallel([guarded(read_share, till, number, self.problems) for number, till in enumerate(tills)])

    def compare_queue(self, connection: Connection, dead_before: int) -> None:
        """Nothing waits, nothing is on its way, nothing was refused."""
        queue = connection.get("/v1/queue")
        expected = {"pending": 0, "inflight": 0, "dead": dead_before}
        found = {state: queue[state] for state in expected}
        if found != expected:
            self.problems.append(f"the queue holds {found}, expected {expected}")

    def _compare_document(self, connection: Connection, path: str) -> None:
        document = connection.get(f"/v1/documents/{quote(path)}")
        if document["pending"]:
            self.problems.append(f"{path} is shown as pending, though the queue is empty")
        self._compare(path, "the API", self.ledger.documents[path], document["data"])
        if path in self.upstream and canonical(document["data"]) != canonical(self.upstream[path]):
            self.problems.append(f"{path} is not the same in the API and upstream")

    def _compare(self, path: str, where: str, acknowledged: Document, found: Document) -> None:
        for line in differences(comparable(path, acknowledged), comparable(path, found)):
            self.problems.append(f"{path} in {where}: {line}")

    def _note(self, what: str, paths: list[str]) -> None:
        if paths:
            self.problems.append(f"{what} {len(paths)} documents: {', '.join(paths[:3])}")


def comparable(path: str, data: Document) -> Document:
    """What of a document the ledger can know: all of it, or of a shared document what commutes."""
    overwritten = SHARED.get(path.split("/")[0])
    if overwritten is None:
        return data
    known = {field: value for field, value in data.items() if field not in overwritten}
    return {field: sorted(value) if isinstance(value, list) else value for field, value in known.items()}


def guarded(job: Callable[[Till, int], None], till: Till, number: int, problems: list[str]) -> Callable[[], None]:
    """`job` for one till, as a thread can run it: what it raises becomes a problem of the audit."""

    def run() -> None:
        try:
            job(till, number)
        except Exception as error:
            problems.append(f"the audit by {till.name} stopped: {type(error).__name__}: {error}")

    return run
