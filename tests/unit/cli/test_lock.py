"""What the command line reads of the lock file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deora.cli.lock import LockRecord, read_lock


@pytest.mark.parametrize(
    ("content", "record"),
    [
        ('{"pid": 5, "argv": ["--data", "/d"]}', LockRecord(5, ["--data", "/d"], False, None)),
        ('{"pid": 5, "argv": [], "systemd": true, "more": 1}', LockRecord(5, [], True, None)),
        ("", None),
        ("4711\n", None),
        ("[]", None),
        ('{"pid": 5}', None),
        ('{"pid": "5", "argv": []}', None),
        ('{"pid": 5, "argv": [1]}', None),
        ('{"pid": 5, "argv": "--data"}', None),
        ("\ufffd{", None),
    ],
)
def test_read_lock(tmp_path: Path, content: str, record: LockRecord | None) -> None:
    (tmp_path / "deora.lock").write_text(content)
    assert read_lock(tmp_path) == record


def test_no_file(tmp_path: Path) -> None:
    assert read_lock(tmp_path) is None


@pytest.mark.parametrize(("named", "told"), [("", Path("/run/deora")), ("link", Path("/run/deora")), ("copy", None)])
def test_where_the_control_socket_is_holds_for_the_directory_that_it_was_written_in(
    tmp_path: Path, named: str, told: Path | None
) -> None:
    """A copy of a data directory must not lead to the instance on the original."""
    data, copy = tmp_path / "data", tmp_path / "copy"
    (tmp_path / "link").symlink_to(data)
    record = {"pid": 5, "argv": ["--data", str(data)], "systemd": True, "control": "/run/deora"}
    for folder in (data, copy):
        folder.mkdir()
        (folder / "deora.lock").write_text(json.dumps(record))
    found = read_lock(tmp_path / (named or "data"))
    assert found is not None
    assert found.control == told
