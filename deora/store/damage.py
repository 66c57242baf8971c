"""A damaged file: found when the store opens it, set aside, and what can be read of it put into a new one.

    examine   is the file as it was left? Each page has its sum, and the mark tells how far the WAL had come (`sums`)
    mend      one flipped bit is put right; else what can be read goes into a new file (`salvage`, `rebuild`)
    replace   the old files go into a folder, never away; the new one takes their place

A kill in the middle leaves either the old file, which is examined again, or a note that says how to finish. Reports
stay in REPORTS beside the store until somebody has moved or deleted the folder that they speak of.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import zlib
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from deora.errors import StoreError
from deora.store import sums as sidecar
from deora.store.database import check_schema, migrate, migrations
from deora.store.image import Image, mend
from deora.store.rebuild import Rebuilt, leap, named, rebuild
from deora.store.replacing import Report, finish, replace, reports
from deora.store.salvage import Salvaged, can_be_sent, salvage, schema_version, sync
from deora.store.sums import Mark, Sums
from deora.store.wal import (
    FRAME_HEADER_BYTES,
    HEADER_BYTES,
    INDEX_HEADERS_BYTES,
    NO_SALTS,
    Index,
    Wal,
    ends_behind,
    page_numbers,
    read_index,
    read_wal,
)

_log = logging.getLogger("deora.store")

_MAGIC: Final = b"SQLite format 3\0"
_PAGE_BYTES: Final = 4096
# So many pages that differ while the file as a whole is sound are no damage, which spares no structure: it is another
# file, a backup that somebody has put here.
REPLACED_AT_LEAST: Final = 3
# Then the disk is beyond help, and each further attempt may lose more.
REPORTS_AT_MOST: Final = 10
# Where no sums are known, as after an upgrade, a file up to this size is looked through: 0.7 s. One of 500 MB would
# take 2.7 s, and a start at 1,000,000 waiting entries has 3.
LOOKED_THROUGH_BYTES: Final = 128 * 1024 * 1024
# Errors of SQLite that say nothing of what the file holds.
_NOT_THE_FILE: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_READONLY,
    }
)
NEW: Final = ".new"
"""what the file is called that will take the damaged one's place"""


@dataclass(slots=True)
class Examined:
    """What an examination found: `reasons` why the file is damaged; none of them, and `sums` that hold or are None.

    `is_short`: transactions that were durable are missing at the WAL's end. `is_old`: the schema is.
    """

    sums: Sums | None = None
    mark: Mark | None = None
    reasons: list[str] = field(default_factory=list)
    is_short: bool = False
    is_old: bool = False


def prepare(path: Path, upstreams: list[str], now: str) -> Sums | None:
    """Makes the store's file one that can be opened and believed; returns its sums. `now`: UTC, for names.

    Raises StoreError where the file is of a newer version, or none of ours.
    """
    finish(path)
    for left in (_beside(path, NEW), _beside(path, f"{NEW}-journal")):
        left.unlink(missing_ok=True)
    examined = examine(path)
    if examined.is_short and _is_index_stale(path, examined):
        examined = examine(path)
    if not examined.reasons:
        if examined.is_old:
            # A migration rewrites much of the file, in several transactions.
            sidecar.drop_sums(path)
            return None
        return examined.sums
    if len(reports(path)) >= REPORTS_AT_MOST:
        raise StoreError(
            f"{path} is damaged again, after {REPORTS_AT_MOST} times that it was mended: {'; '.join(examined.reasons)}",
            hint=f"the disk is failing: copy the data directory to another one; then move {path.name}.damaged-* away",
        )
    _log.error("the store's file is damaged: %s", "; ".join(examined.reasons), extra={"file": str(path)})
    report = _mend(path, examined, upstreams, now)
    _log.error("%s", report.text(), extra={"hint": report.hint})
    return examine(path).sums


def suspect(path: Path, error: Exception) -> None:
    """Has the next start look at everything: something in the file could not be used while it was open."""
    path.with_name(path.name + "-suspect").write_text(str(error), encoding="utf-8")


def tells_of_damage(error: sqlite3.Error) -> bool:
    """Whether this error is of what the file holds, and not of the disk, the memory or others who use it."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def examine(path: Path) -> Examined:
    """Looks whether the file is as it was left, and changes nothing but what SQLite rebuilds by itself."""
    found = Examined(sidecar.load_sums(path), sidecar.load_mark(path))
    ours = found.sums is not None or found.mark is not None
    try:
        with open(path, "rb") as file:
            head = file.read(len(_MAGIC))
    except FileNotFoundError:
        head = b""
    except OSError as error:
        raise StoreError(
            f"{path} cannot be read: {error.strerror}",
            hint="the data directory and its files must belong to the user that runs DEORA",
        ) from error
    if head == _MAGIC:
        _examine_inside(path, found)
    elif ours or (not head and read_wal(_beside(path, "-wal")).frames):
        found.reasons.append(f"{path.name} is {'not a SQLite file any more' if head else 'empty or missing'}")
    elif head:
        raise StoreError(
            f"{path} is not a SQLite file",
            hint="DEORA leaves alone what it did not write: move it away, or choose another data directory",
        )
    return found


def _examine_inside(path: Path, found: Examined) -> None:
    descriptors = [os.open(path, os.O_RDONLY)]
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
    try:
        [(schema,)] = db.execute("SELECT count(*) FROM sqlite_master").fetchall()
        if _beside(path, "-shm").exists():
            descriptors.append(os.open(_beside(path, "-shm"), os.O_RDONLY))
        index = read_index(descriptors[-1]) if len(descriptors) > 1 else None
        [(version,)] = db.execute("PRAGMA user_version").fetchall()
        found.is_old = version < migrations()[-1][0]
        if found.sums is None and not version and not schema:
            return  # Its first start was killed before it had a table.
        if version > migrations()[-1][0] and not _is_one_bit(found.sums, descriptors[0]):
            check_schema(version)
        _compare(path, found, index or Index(NO_SALTS, 0, 0))
        if found.sums is not None:
            _compare_pages(found, index or Index(NO_SALTS, 0, 0), descriptors)
        suspicion = _beside(path, "-suspect")
        is_small = os.fstat(descriptors[0]).st_size <= LOOKED_THROUGH_BYTES
        if suspicion.exists() or (found.sums is None and is_small):
            found.reasons += _look_through(db, thoroughly=suspicion.exists())
            if not found.reasons:
                suspicion.unlink(missing_ok=True)
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", 0)
        if code == sqlite3.SQLITE_READONLY_ROLLBACK:
            # Its first start was killed before it had a WAL. SQLite takes that back when the file is opened.
            found.sums, found.is_old = None, True
            return
        if code & 0xFF in _NOT_THE_FILE:
            raise StoreError(
                f"the store's file {path} cannot be examined: {error}",
                hint="look after the disk, its room and the files' permissions; DEORA tries again by itself",
            ) from error
        found.reasons.append(f"SQLite cannot read it: {error}")
    finally:
        db.close()
        # Last: closing any of them gives up the connection's locks.
        for descriptor in descriptors:
            os.close(descriptor)


def _compare(path: Path, found: Examined, index: Index) -> None:
    """Whether the WAL has all that was durable, and whether the sums are of the file's present state."""
    sums, mark = found.sums, found.mark
    summed = sums.frames if sums is not None and mark is not None and mark.salts == sums.salts else 0
    if mark is not None and sums is not None and mark.sums == sums.number and mark.frames > summed:
        found.is_short = mark.salts != index.salts or mark.frames > index.frames
    elif sums is not None and index.salts == sums.salts and index.frames < sums.frames and _size(path, "-wal"):
        # All of it is in the file, but what SQLite would take from the rest of the WAL is older than that.
        found.reasons.append("the write-ahead log is damaged")
    if index.frames and not found.is_short and _is_cut(path, index):
        found.is_short = True
    if found.is_short:
        found.reasons.append("the write-ahead log has lost its end")
    if sums is None or index.frames == 0 or index.salts == sums.salts:
        return
    follows = index.salts[0] == (sums.salts[0] + 1) % (1 << 32)
    known = mark is not None and mark.salts == index.salts and mark.sums == sums.number
    if not follows and not known and not found.is_short:
        _log.warning("the page sums are of another state of the file; they are taken anew")
        found.sums = None


def _is_cut(path: Path, index: Index) -> bool:
    """Whether transactions that were durable follow in the WAL behind the last one that SQLite takes.

    A transaction that a power cut left half written ends nowhere, or cannot be read; one with a wrong bit can.
    """
    at = HEADER_BYTES + index.frames * (FRAME_HEADER_BYTES + _PAGE_BYTES)
    if _size(path, "-wal") <= at:
        return False
    with open(_beside(path, "-wal"), "rb") as file:
        file.seek(at)
        behind = file.read()
    if not ends_behind(behind, 0, index.salts, _PAGE_BYTES):
        return False
    wal = read_wal(_beside(path, "-wal"))
    return wal.broken or wal.frames > index.frames


def _is_one_bit(sums: Sums | None, descriptor: int) -> bool:
    """Whether the first page, which has the schema's version, differs from what was written by one bit."""
    if sums is None or not sums.crcs:
        return False
    page = os.pread(descriptor, sums.page_bytes, 0)
    return zlib.crc32(page) != sums.crcs[0] and mend(page, sums.crcs[0]) is not None


def _compare_pages(found: Examined, index: Index, descriptors: list[int]) -> None:
    """`descriptors`: the file's, and its index's where it has one."""
    assert found.sums is not None
    wrong = sidecar.mismatches(found.sums, descriptors[0], set(), 0, len(found.sums.crcs))
    if wrong and index.frames:
        spared = page_numbers(descriptors[1], 0, index.frames)
        wrong = [page for page in wrong if page not in spared]
    if wrong:
        found.reasons.append(f"{len(wrong)} of {len(found.sums.crcs)} pages are not as they were written")


def _look_through(db: sqlite3.Connection, *, thoroughly: bool) -> list[str]:
    """What SQLite and JSON can tell where no sums can, or do not suffice."""
    check = "integrity_check" if thoroughly else "quick_check"
    lines = [line for (line,) in db.execute(f"PRAGMA {check}(3)") if line != "ok"]
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not {"documents", "entries", "progress"} <= tables:
        lines.append("it has not the tables of a store")
    if not lines:
        [(wrong,)] = db.execute(
            "SELECT count(*) FROM documents WHERE NOT (json_valid(coalesce(view, '{}')) AND"
            " json_valid(coalesce(base, '{}')))"
        ).fetchall()
        if wrong:
            lines.append(f"{wrong} documents are not JSON")
    if thoroughly and not lines:
        wrong = sum(not can_be_sent(payload) for (payload,) in db.execute("SELECT payload FROM entries"))
        if wrong:
            lines.append(f"the writes of {wrong} entries cannot be read")
    return lines


def _is_index_stale(path: Path, examined: Examined) -> bool:
    """Whether only the WAL's index is behind, as one is that another process made anew while the store was writing.

    Then it is made invalid, so that SQLite builds it again from the WAL.
    """
    wal = read_wal(_beside(path, "-wal"))
    mark = examined.mark
    if wal.broken or mark is None or wal.salts != mark.salts or wal.frames < mark.frames:
        return False
    _log.warning("the index of the write-ahead log was stale; it is built anew")
    with open(_beside(path, "-shm"), "r+b") as file:
        file.write(bytes(INDEX_HEADERS_BYTES))
    return True


def _mend(path: Path, examined: Examined, upstreams: list[str], now: str) -> Report:
    """Makes a sound file of what can be read, and puts it in the place of the damaged one."""
    sums, mark, wal = examined.sums, examined.mark, read_wal(_beside(path, "-wal"))
    if sums is not None and wal.salts == sums.salts and wal.frames < sums.frames:
        # The file has all that it held, and what is left of it is older.
        wal = Wal()
    is_short = examined.is_short and not _is_mended(wal, mark)
    image = Image(path, sums, wal, sums.page_bytes if sums is not None else _PAGE_BYTES)
    schema_version(image)
    target = _beside(path, NEW)
    report = Report(now, f"{path.name}.damaged-{now}", examined.reasons)
    if _is_sound(image, target):
        if image.mended:
            report.outcome.append(f"one wrong bit was put right in each of {image.mended} pages")
        if is_short:
            _report_short(target, mark, report)
    elif len(image.bad) >= REPLACED_AT_LEAST and _is_sound(Image(path, None, wal, image.page_bytes), target):
        report.outcome.append("but it is sound: it was replaced, or changed by another program, and is used as it is")
        _report_short(target, mark, report)
    else:
        _salvage(image, target, upstreams, mark, is_short, report)
    sync(target)
    replace(path, target, report)
    return report


def _salvage(
    image: Image, target: Path, upstreams: list[str], mark: Mark | None, is_short: bool, report: Report
) -> None:
    target.unlink(missing_ok=True)
    db, salvaged = salvage(image, target)
    with closing(db):
        rebuilt = rebuild(db, mark, upstreams, salvaged.unclear)
        if is_short:
            db.execute("BEGIN")
            leap(db, mark)
            db.execute("COMMIT")
        # As the store has it: to switch when it opens the file would change the first page beside the WAL.
        db.execute("PRAGMA journal_mode = WAL")
    _report_salvage(report, salvaged, rebuilt)
    if is_short:
        report.lost.append(_missing_commits(mark, None))


def _is_mended(wal: Wal, mark: Mark | None) -> bool:
    """Whether all that was durable is there, now that wrong bits were put right."""
    if not wal.mended or wal.broken:
        return False
    return mark is None or (wal.salts == mark.salts and wal.frames >= mark.frames)


def _is_sound(image: Image, target: Path) -> bool:
    """Whether the image as a whole is one that SQLite can read; it is at `target` then."""
    if image.bad or not image.size_pages:
        return False
    image.write(target)
    try:
        # Not by WAL: a file that is read must not gain a second one beside it.
        with closing(sqlite3.connect(f"{target.absolute().as_uri()}?immutable=1", uri=True)) as db:
            return not _look_through(db, thoroughly=True)
    except sqlite3.DatabaseError:
        return False


def _report_short(target: Path, mark: Mark | None, report: Report) -> None:
    with closing(sqlite3.connect(target, isolation_level=None)) as db:
        migrate(db)
        [(commit_no,)] = db.execute("SELECT commit_no FROM progress").fetchall()
        db.execute("BEGIN")
        leap(db, mark)
        db.execute("COMMIT")
    report.lost.append(_missing_commits(mark, commit_no))


def _missing_commits(mark: Mark | None, commit_no: int | None) -> str:
    if mark is None or commit_no is None or mark.commit_no < commit_no:
        return "the last transactions before the end of the write-ahead log; how many is not known"
    if mark.commit_no == commit_no:
        return "what was last learned of upstream, which its cursor tells again; no commit of a client"
    return f"the commits {commit_no + 1} to {mark.commit_no}, which had been acknowledged"


def _report_salvage(report: Report, salvaged: Salvaged, rebuilt: Rebuilt) -> None:
    kept = ", ".join(f"{count} {name}" for name, count in sorted(salvaged.rows.items()))
    report.outcome.append(f"what could be read is in a new file: rows of {kept}")
    if salvaged.pages:
        report.lost.append(
            f"{salvaged.pages} pages; rows are missing in {', '.join(sorted(salvaged.unclear)) or 'none'}"
        )
    for name, count in salvaged.damaged.items():
        report.lost.append(f"{count} rows of {name} whose values are damaged")
    if rebuilt.entries:
        report.lost.append(f"{rebuilt.entries} entries that waited for upstream, or were dead")
    if rebuilt.sent_again:
        report.outcome.append(f"what these documents hold is sent upstream as a whole: {named(rebuilt.sent_again)}")
    if rebuilt.made_own:
        report.lost.append(f"from whom {rebuilt.made_own} entries were taken over; do not import their file again")
    if rebuilt.documents:
        report.lost.append(f"what these documents held: {named(rebuilt.documents)}")
    if rebuilt.stranger or rebuilt.unplaced:
        what = "who this store was" if rebuilt.stranger else "where an upstream's cursor stood"
        report.lost.append(f"{what}; so the queue is paused, since entries might be sent twice")


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _size(path: Path, ending: str) -> int:
    try:
        return _beside(path, ending).stat().st_size
    except FileNotFoundError:
        return 0
