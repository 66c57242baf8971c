"""The file of an exported queue: whole or refused, and cut into pages that keep the order."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from deora.cli import queue_file
from deora.cli.queue_file import PAGE_ENTRIES, Queue, Writer, read
from deora.errors import DeoraError

HEADER = {"node": "n", "epoch": "e", "created": "now", "state": None}
CURSORS = {"primary": {"seq": 7, "batchId": "b"}, "secondary": {"seq": 0, "batchId": ""}}


def entry(number: int, *, commit: int | None = None, upstream: str = "primary", size: int = 1) -> dict[str, Any]:
    return {
        "upstream": upstream,
        "node": "n",
        "epoch": "e",
        "number": number,
        "state": "pending",
        "priority": 5,
        "created": "2026-01-31T12:00:00.000000Z",
        "commit": number if commit is None else commit,
        "attempts": 0,
        "error": None,
        "writes": [{"set": {"path": "a/1", "data": {"x": "x" * size, "f": 1.0, "i": 2**63 - 1}}}],
    }


def written(path: Path, *entries: dict[str, Any], force: bool = False) -> Path:
    writer = Writer(path, force=force)
    writer.header({**HEADER, "upstreams": CURSORS})
    for each in entries:
        writer.entry(each)
    writer.finish()
    return path


def pages(queue: Queue) -> list[list[int]]:
    """The numbers in each page."""
    found = []
    for count, body in queue.pages():
        page = orjson.loads(body)
        assert page["from"] == queue.sender
        assert len(page["entries"]) == count
        found.append([each["number"] for each in page["entries"]])
    return found


def test_what_was_written_is_read(tmp_path: Path) -> None:
    entries = [entry(3), entry(1), entry(2, upstream="secondary")]
    path = written(tmp_path / "q.jsonl", *entries)
    assert path.stat().st_mode & 0o777 == 0o600, "it holds what clients wrote"
    assert [each.name for each in tmp_path.iterdir()] == ["q.jsonl"]
    queue = read(path)
    assert queue.entries == 3
    assert queue.sender == {"node": "n", "epoch": "e", "upstreams": CURSORS}
    assert pages(queue) == [[3, 1, 2]]
    *lines, end = path.read_bytes().splitlines(keepends=True)
    assert orjson.loads(end) == {"entries": 3, "sha256": hashlib.sha256(b"".join(lines)).hexdigest()}
    assert b'"f":1.0,"i":9223372036854775807' in next(queue.pages())[1]


def test_one_upstream_of_several(tmp_path: Path) -> None:
    path = written(tmp_path / "q.jsonl", entry(1), entry(2, upstream="secondary"))
    queue = read(path, "secondary")
    assert (queue.entries, list(queue.sender["upstreams"]), pages(queue)) == (1, ["secondary"], [[2]])
    with pytest.raises(DeoraError, match="no upstream 'x'; found: primary, secondary"):
        read(path, "x")


def test_a_queue_without_entries_still_has_a_page(tmp_path: Path) -> None:
    assert pages(read(written(tmp_path / "q.jsonl"))) == [[]]


def test_pages_end_between_commits_and_keep_the_order(tmp_path: Path) -> None:
    pairs = [entry(number, commit=number // 2) for number in range(2, 2 * PAGE_ENTRIES + 3)]
    found = pages(read(written(tmp_path / "q.jsonl", *pairs)))
    assert [number for page in found for number in page] == [each["number"] for each in pairs]
    assert [len(page) for page in found] == [PAGE_ENTRIES, PAGE_ENTRIES, 1]
    odd = [entry(number, commit=number // 3) for number in range(3, 3 + PAGE_ENTRIES + 10)]
    assert [len(page) for page in pages(read(written(tmp_path / "odd.jsonl", *odd)))] == [501, 9]


def test_large_entries_have_pages_that_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_file, "PAGE_BYTES", 1000)
    monkeypatch.setattr(queue_file, "MOST_BYTES", 3000)
    large = [entry(1, commit=1, size=1500), entry(2, commit=1, size=1500), entry(3, size=9000), entry(4), entry(5)]
    assert pages(read(written(tmp_path / "q.jsonl", *large))) == [[1], [2], [3], [4, 5]]
    small = [entry(number, commit=1, size=300) for number in range(4)]
    assert [len(page) for page in pages(read(written(tmp_path / "p.jsonl", *small[1:])))] == [3]


def test_what_is_there_is_not_replaced_unless_forced(tmp_path: Path) -> None:
    path = written(tmp_path / "q.jsonl", entry(1))
    with pytest.raises(DeoraError, match="is there already") as caught:
        written(path)
    assert caught.value.hint is not None
    assert "--force" in caught.value.hint
    assert read(path).entries == 1
    assert read(written(path, entry(1), entry(2), force=True)).entries == 2


def test_what_came_there_meanwhile_is_not_replaced_either(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    writer = Writer(path)
    path.write_text("mine")
    with pytest.raises(DeoraError, match="is there already"):
        writer.finish()
    writer.give_up()
    assert [each.name for each in tmp_path.iterdir()] == ["q.jsonl"]
    assert path.read_text() == "mine"


def test_an_unfinished_file_leaves_nothing(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "q.jsonl")
    writer.header({})
    writer.give_up()
    writer.give_up()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DeoraError, match="cannot be written: No such file or directory"):
        Writer(tmp_path / "missing" / "q.jsonl")


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "q.jsonl")
    writer._file.close()
    writer._file = open("/dev/full", "wb", buffering=0)  # noqa: SIM115
    with pytest.raises(DeoraError, match="cannot be written: No space left on device"):
        writer.header({})
    writer.give_up()


Damage = Callable[[list[bytes]], list[bytes]]
DAMAGES: dict[str, tuple[Damage, str]] = {
    "end": (lambda lines: lines[:-1], "is cut off behind line 3"),
    "half of the end": (lambda lines: [*lines[:-1], lines[-1][:20]], "is cut off behind line 4"),
    "all but the header": (lambda lines: lines[:1], "is cut off behind line 1"),
    "half of an entry": (lambda lines: [*lines[:2], lines[2][:30]], "is cut off behind line 2"),
    "an entry less": (lambda lines: [*lines[:2], *lines[3:]], "was changed"),
    "another order": (lambda lines: [lines[0], lines[2], lines[1], *lines[3:]], "was changed"),
    "a value": (lambda lines: [lines[0], lines[1].replace(b"xx", b"xy"), *lines[2:]], "was changed"),
    "the header": (lambda lines: [lines[0].replace(b'"seq":7', b'"seq":0'), *lines[1:]], "was changed"),
    "a number": (
        lambda lines: [lines[0], lines[1].replace(b'"number":1', b'"number":-1'), *lines[2:]],
        "line 2: number",
    ),
    "a write": (lambda lines: [lines[0], lines[1].replace(b"a/1", b"a/.."), *lines[2:]], "line 2: writes"),
    "JSON": (lambda lines: [lines[0], b"{}}\n", *lines[2:]], "line 2: "),
    "an upstream": (
        lambda lines: [lines[0], lines[1].replace(b"primary", b"third"), *lines[2:]],
        "line 2: its upstream",
    ),
    "something behind": (lambda lines: [*lines, b"\n"], "line 5: "),
    "the version": (lambda lines: [lines[0].replace(b'"version":1', b'"version":2'), *lines[1:]], "has version 2"),
    "the format": (lambda lines: [b"[]\n", *lines[1:]], "is no exported queue"),
    "no cursors": (lambda lines: [b'{"format":"deora-queue","version":1}\n', *lines[1:]], "line 1: "),
    "everything": (lambda _: [], "is no exported queue"),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_a_damaged_file_is_refused_and_says_why(tmp_path: Path, what: str) -> None:
    damage, message = DAMAGES[what]
    path = written(tmp_path / "q.jsonl", *(entry(number, size=40) for number in (1, 2, 3)))
    path.write_bytes(b"".join(damage(path.read_bytes().splitlines(keepends=True))))
    with pytest.raises(DeoraError) as caught:
        read(path)
    assert message in caught.value.message
    assert caught.value.hint is not None


def test_every_byte_is_under_the_checksum(tmp_path: Path) -> None:
    path = written(tmp_path / "q.jsonl", entry(1))
    whole = path.read_bytes()
    for place in range(0, len(whole), 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(DeoraError):
            read(path)
        path.write_bytes(whole[:place])
        with pytest.raises(DeoraError):
            read(path)


def test_a_line_that_never_ends_is_not_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_file, "MAX_LINE_BYTES", 1000)
    path = written(tmp_path / "q.jsonl", entry(1, size=5000))
    with pytest.raises(DeoraError, match="line 2: "):
        read(path)
    with pytest.raises(DeoraError, match="cannot be read: No such file or directory"):
        read(tmp_path / "missing")
