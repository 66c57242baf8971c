"""A copy of the store's file as it was at one commit, made while the store writes, without a word to it.

Neither of SQLite's own ways would do. Its backup API begins again with each commit of another connection, and `VACUUM
INTO` holds a read transaction for as long as it takes: the WAL could not begin anew meanwhile, and the store takes no
writes beyond 64 MiB of it. So pages are copied as a machine is moved that goes on working:

1. All pages of the file are copied, with no lock. The store's checkpoints may change some meanwhile.
2. `store.db-sums` tells which: the file's page differs from the copy's. They are copied again, and again, until few do.
3. A read transaction, a few milliseconds long: what is in the WAL, and what still differs. From then on no checkpoint
   changes a page that is not in the WAL, so file and WAL are what they were at one commit.

Every page that is taken has the sum that the store took of it, or comes from the WAL under the salts of its header.
Where no sums are kept, as on a full disk, which takes no writes, step 3 looks through the whole file.
"""

from __future__ import annotations

import os
import sqlite3
import zlib
from array import array
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Final

from deora.errors import StoreError
from deora.store.sums import PAGES_AT_ONCE, Sums, crcs_of, load_sums
from deora.store.wal import frame_pages, read_frame, read_published

# So many pages may be left for the read transaction, and are in memory then, beside what the WAL holds: 16 MiB.
LATE_AT_MOST: Final = 4096
ROUNDS: Final = 30
TRIES: Final = 20
# What was written is synced so often, so that the disk is never busy for long with what is no store's commit.
SYNCED_BYTES: Final = 8 * 1024 * 1024
# Where the file's header says by which journal it is written: a copy needs none beside it.
_VERSIONS_AT: Final = 18
_ALONE: Final = b"\x01\x01"

Progress = Callable[[int, int], None]
"""Told how many bytes are done, and of how many."""


class Copier:
    """Copies the store at `path` into the open file `target`. `progress` may raise to end it."""

    def __init__(self, path: Path, target: int, progress: Progress) -> None:
        self._path = path
        self._target = target
        self._progress = progress
        # A connection for the read transaction. The descriptors are closed after it: closing any gives up its locks.
        self._db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        self._descriptors: list[int] = []
        try:
            [(self._page_bytes,)] = self._db.execute("PRAGMA page_size").fetchall()
            self._db.execute("SELECT count(*) FROM sqlite_master").fetchall()
            for ending in ("", "-wal", "-shm"):
                self._descriptors.append(os.open(path.with_name(path.name + ending), os.O_RDONLY))
        except BaseException:
            self.close()
            raise
        self._file, self._wal, self._shm = self._descriptors
        # The sum of each page in the copy; what has none yet is not to be believed equal to a sum that is 0.
        self._copied = array("I")
        self._has = bytearray()
        self._unsynced = 0

    def close(self) -> None:
        """Lets go of the store's file."""
        self._db.close()
        for descriptor in self._descriptors:
            os.close(descriptor)

    def run(self) -> None:
        """Makes the copy, durably. Raises StoreError, OSError or sqlite3.Error."""
        for _ in range(TRIES):
            for _ in range(ROUNDS):
                sums = load_sums(self._path)
                size_pages = len(sums.crcs) if sums is not None else self._file_pages()
                differing = self._differing(sums or Sums(), (), size_pages)
                self._copy(differing, size_pages)
                if sums is None or len(differing) <= LATE_AT_MOST // 2:
                    break
            if self._finish():
                return
        raise StoreError(
            f"{self._path.name} changes faster than it can be copied",
            hint="back up to a faster disk, or when there is less to do; the store goes on as ever",
        )

    def _differing(self, sums: Sums, spared: Collection[int], size_pages: int) -> list[int]:
        """The pages (from 1) that the copy has not as the sums say; of those that they do not know all."""
        self._extend(size_pages)
        known = len(sums.crcs)
        return [
            page
            for page in range(1, size_pages + 1)
            if page not in spared
            and (page > known or not self._has[page - 1] or self._copied[page - 1] != sums.crcs[page - 1])
        ]

    def _extend(self, size_pages: int) -> None:
        missing = size_pages - len(self._copied)
        if missing > 0:
            self._copied.extend(array("I", bytes(4 * missing)))
            self._has.extend(bytes(missing))

    def _copy(self, pages: list[int], size_pages: int) -> None:
        """Copies pages as the file has them now."""
        done = size_pages - len(pages)
        for run in _runs(pages):
            data = os.pread(self._file, len(run) * self._page_bytes, (run[0] - 1) * self._page_bytes)
            for index, page in enumerate(run):
                content = data[index * self._page_bytes : (index + 1) * self._page_bytes]
                if len(content) == self._page_bytes:
                    self._write(page, content)
            done += len(run)
            self._progress(done * self._page_bytes, size_pages * self._page_bytes)

    def _write(self, page: int, content: bytes) -> None:
        self._copied[page - 1], self._has[page - 1] = zlib.crc32(content), 1
        if page == 1:
            content = content[:_VERSIONS_AT] + _ALONE + content[_VERSIONS_AT + len(_ALONE) :]
        os.pwrite(self._target, content, (page - 1) * self._page_bytes)
        self._unsynced += len(content)
        if self._unsynced >= SYNCED_BYTES:
            self._unsynced = 0
            os.fdatasync(self._target)

    # -- the last step

    def _finish(self) -> bool:
        """The read transaction, and what it has found; False where that is to be tried again."""
        self._db.execute("BEGIN")
        try:
            self._db.execute("SELECT count(*) FROM sqlite_master").fetchall()
            found = self._read()
        finally:
            self._db.execute("COMMIT")
        if found is None:
            return False
        size_pages, contents = found
        self._extend(size_pages)
        for page, content in contents.items():
            self._write(page, content)
        os.ftruncate(self._target, size_pages * self._page_bytes)
        os.fsync(self._target)
        self._progress(size_pages * self._page_bytes, size_pages * self._page_bytes)
        return True

    def _read(self) -> tuple[int, dict[int, bytes]] | None:
        """The file's size at one commit, and the pages that the copy has not as they were then."""
        published = read_published(self._shm)
        if published is None:
            return None
        frames = {page: number for number, page in enumerate(frame_pages(self._shm, 0, published.frames))}
        size_pages = published.size_pages if published.frames else self._file_pages()
        sums = load_sums(self._path) or self._sums_now(self._file_pages())
        late = self._differing(sums, frames.keys(), size_pages)
        if len(late) > LATE_AT_MOST:
            return None
        contents = {page: os.pread(self._file, self._page_bytes, (page - 1) * self._page_bytes) for page in late}
        wrong = [page for page in late if page > len(sums.crcs) or zlib.crc32(contents[page]) != sums.crcs[page - 1]]
        if wrong:
            raise StoreError(
                f"{len(wrong)} pages of {self._path.name} are not as they were written, the first one is {wrong[0]}",
                hint="the store finds that, too, and mends what can be mended: see `deora status`, then back up again",
            )
        for page, number in frames.items():
            content = read_frame(self._wal, published, number, page, self._page_bytes)
            if content is None:
                return None
            contents[page] = content
        after = read_published(self._shm)
        if after is None or after.salts != published.salts:
            return None
        return size_pages, {page: content for page, content in contents.items() if page <= size_pages}

    def _file_pages(self) -> int:
        return os.fstat(self._file).st_size // int(self._page_bytes)

    def _sums_now(self, count: int) -> Sums:
        """The sums of the file's pages, where the store keeps none."""
        return Sums(self._page_bytes, crcs=array("I", crcs_of(self._file, self._page_bytes, 0, count)))


def _runs(pages: list[int]) -> Iterator[list[int]]:
    """Sorted pages in runs of neighbours, none longer than what is read at once."""
    run: list[int] = []
    for page in pages:
        if run and (page != run[-1] + 1 or len(run) == PAGES_AT_ONCE):
            yield run
            run = []
        run.append(page)
    if run:
        yield run
