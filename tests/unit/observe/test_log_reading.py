"""Reading a log that is written and put away: each line once, none left out."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from deora.observe.log_files import LogFile
from deora.observe.log_reading import LogReader


def write(path: Path, *numbers: int, max_bytes: int = 10**6, keep: int = 100) -> None:
    file = LogFile(path, max_bytes, keep)
    for number in numbers:
        file.write([b"line %d\n" % number])
    file.close()


def numbers(lines: list[bytes]) -> list[int]:
    return [int(line.removeprefix(b"line ")) for line in lines]


@pytest.mark.parametrize("number", [0, 1, 7, 50, 1000])
def test_the_last_lines_come_from_as_many_files_as_it_takes(tmp_path: Path, number: int) -> None:
    path = tmp_path / "app.log"
    write(path, *range(60), max_bytes=100)
    reader = LogReader(path)
    assert numbers(reader.last(number)) == list(range(60))[max(0, 60 - number) :]
    assert reader.read() == []
    reader.close()


def test_the_last_lines_of_a_large_file(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    path.write_bytes(b"".join(b"line %d\n" % n for n in range(40_000)))
    reader = LogReader(path)
    assert numbers(reader.last(20_000)) == list(range(20_000, 40_000))
    assert numbers(reader.last(3)) == [39_997, 39_998, 39_999]
    reader.close()


def test_what_follows_is_read_once_across_files(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    chosen = random.Random(7)
    reader = LogReader(path)
    seen: list[int] = []
    for number in range(500):
        write(path, number, max_bytes=50)
        if chosen.random() < 0.1:
            seen += numbers(reader.read())
    seen += numbers(reader.read())
    assert seen == list(range(500))
    reader.close()


def test_files_that_were_deleted_meanwhile_cost_their_lines_alone(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    write(path, 0, max_bytes=50, keep=2)
    reader = LogReader(path)
    assert numbers(reader.read()) == [0]
    write(path, *range(1, 100), max_bytes=50, keep=2)
    seen = numbers(reader.read())
    # The file that it had open is read to its end, then those that are kept.
    assert seen[:3] == [1, 2, 3]
    assert seen[-10:] == list(range(90, 100))
    assert sorted(set(seen)) == seen
    reader.close()


def test_a_line_that_is_half_written_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    path.write_bytes(b"line 1\nline")
    reader = LogReader(path)
    assert numbers(reader.last(5)) == [1]
    with path.open("ab") as file:
        file.write(b" 2\nli")
    assert numbers(reader.read()) == [2]
    reader.close()


def test_a_log_that_is_emptied_is_read_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    write(path, 1, 2, 3)
    reader = LogReader(path)
    reader.last(0)
    path.write_bytes(b"line 4\n")
    assert numbers(reader.read()) == [4]
    reader.close()


def test_a_log_that_is_not_there_yet_is_found_later(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    reader = LogReader(path)
    assert reader.last(5) == reader.read() == []
    write(path, 1)
    assert numbers(reader.read()) == [1]
    path.rename(tmp_path / "taken.log")
    assert reader.read() == []
    write(path, 2)
    assert numbers(reader.read()) == [2]
    reader.close()
