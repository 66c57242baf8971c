"""The default files."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest

from deora.config.load import load
from deora.config.schema import FILES, Config
from deora.config.template import template_files, write_template

REPOSITORY_CONFIG = Path(__file__).resolve().parents[3] / "config"


def test_the_repository_holds_the_same() -> None:
    assert {file.name: file.read_text() for file in REPOSITORY_CONFIG.iterdir()} == template_files()


def test_the_files_mean_the_defaults(tmp_path: Path) -> None:
    assert {path.name for path in write_template(tmp_path / "new" / "config")} == {f"{name}.json" for name in FILES}
    assert load(tmp_path / "new" / "config", environ={}, dotenv=None) == Config()


def test_sizes_have_units_and_lines_are_short() -> None:
    files = template_files()
    assert json.loads(files["servers.json"])["max_memory"] == "1GiB"
    assert json.loads(files["operations.json"])["alerts"]["disk_free"] == "500MiB"
    assert max(len(line) for text in files.values() for line in text.splitlines()) <= 120


def test_an_existing_file_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "servers.json").write_text("mine")
    written = write_template(tmp_path)
    assert len(written) == len(FILES) - 1
    assert tmp_path / "servers.json" not in written
    assert (tmp_path / "servers.json").read_text() == "mine"
    assert write_template(tmp_path) == []


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("a file")
    with pytest.raises(OSError, match="config") as caught:
        write_template(tmp_path / "config")
    assert caught.value.filename == str(tmp_path / "config") or caught.value.filename == tmp_path / "config"


def test_a_file_cut_short_by_a_full_disk_is_taken_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Path.open

    class Full:
        """A stream on a full disk: the first bytes fit."""

        def __init__(self, file: Path) -> None:
            self.stream = opened(file, "x")

        def __enter__(self) -> Full:
            return self

        def write(self, text: str) -> None:
            self.stream.write(text[:10])
            raise OSError(errno.ENOSPC, "No space left on device")

        def __exit__(self, *_: object) -> None:
            self.stream.close()

    def open_full(file: Path, *_: Any, **__: Any) -> Full:
        return Full(file)

    monkeypatch.setattr(Path, "open", open_full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_template(tmp_path)
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(tmp_path / "servers.json")
    assert list(tmp_path.iterdir()) == []
