"""What the doctor finds on a box, and the remedies."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from deora.cli import checkup
from deora.cli.checkup import FAILED, FINE, WARNING, Finding
from deora.config.schema import Config
from deora.store.database import open_writer


def config_of(**sections: Any) -> Config:
    return Config.from_wire(sections)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory as DEORA makes it."""
    made = tmp_path / "data"
    made.mkdir(mode=0o700)
    return made


def only(found: Any) -> Finding:
    [finding] = found
    assert finding.level == FINE or finding.hint, "what is not fine has a remedy"
    assert isinstance(finding, Finding)
    return finding


def test_permissions(data: Path) -> None:
    assert only(checkup.permissions(config_of(), data)).level == FINE
    data.chmod(0o755)
    open_to_others = only(checkup.permissions(config_of(), data))
    assert (open_to_others.level, open_to_others.hint) == (WARNING, f"chmod 700 {data}")
    assert only(checkup.permissions(config_of(), data / "no")).level == WARNING


def test_a_key_file(data: Path) -> None:
    upstream = {"type": "firestore", "project": "p", "credentials": "key.json"}
    config = config_of(database={"primary": upstream})
    key = data / "key.json"

    def found() -> str:
        return list(checkup.permissions(config, data))[1].level

    assert found() == FAILED
    key.write_text("{}")
    key.chmod(0o644)
    assert found() == WARNING
    key.chmod(0o600)
    assert found() == FINE
    emulated = config_of(database={"primary": {**upstream, "emulator_host": "127.0.0.1:1"}})
    assert len(list(checkup.permissions(emulated, data))) == 1


@pytest.mark.parametrize(
    ("free", "files", "levels"),
    [(10**11, 10**6, [FINE]), (2 * 10**8, 10**6, [WARNING]), (10**6, 10**6, [FAILED]), (10**11, 3, [FINE, FAILED])],
)
def test_room(data: Path, free: int, files: int, levels: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    class Disk:
        f_bavail, f_blocks, f_frsize, f_files, f_favail = free, 10**12, 1, 10**6, files

    monkeypatch.setattr("deora.cli.checkup.os.statvfs", lambda _: Disk)
    assert [finding.level for finding in checkup.disk(config_of(), data)] == levels


def test_syncs(data: Path) -> None:
    assert "a sync takes" in only(checkup.syncs(data)).detail
    assert os.listdir(data) == []
    assert list(checkup.syncs(data / "no")) == []
    assert checkup.judged_syncs([1.0, 2.0, 900.0]).level == FINE
    assert checkup.judged_syncs([1.0, 60.0, 900.0]).level == WARNING
    assert checkup.judged_syncs([1.0, 2000.0, 3000.0]).level == FAILED


def test_the_store(data: Path) -> None:
    assert "made at the first start" in only(checkup.store(data)).detail
    open_writer(data / "store.db").close()
    assert only(checkup.store(data)).level == FINE
    content = bytearray((data / "store.db").read_bytes())
    content[4096:8192] = os.urandom(4096)
    (data / "store.db").write_bytes(content)
    assert only(checkup.store(data)).level == FAILED


def test_the_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = checkup.port(config_of(servers={"port": server.getsockname()[1]}))
    assert (taken.level, "Address already in use" in taken.detail) == (FAILED, True)
    assert checkup.port(config_of(servers={"port": 0})).level == FINE


def test_limits_clock_and_sqlite(monkeypatch: pytest.MonkeyPatch) -> None:
    assert checkup.files((100, 4096)).level == FINE
    assert checkup.files((100, 200)).level == WARNING
    assert checkup.clock(1_769_860_800).level == FINE
    assert checkup.clock(5.0).level == WARNING
    assert checkup.sqlite().level == FINE
    monkeypatch.setattr("sqlite3.sqlite_version_info", (3, 8, 0))
    assert checkup.sqlite().level == FAILED


def test_backups(data: Path, tmp_path: Path) -> None:
    def found(folder: str | None) -> str:
        return only(checkup.backups(config_of(operations={"backup": {"dir": folder}}), data)).level

    assert found(None) == WARNING
    assert found("backups") == found(str(tmp_path)) == FINE
    assert found(str(tmp_path / "stick")) == FAILED


def test_with_an_instance_its_port_and_file_are_left_to_it(data: Path) -> None:
    def names(*, is_running: bool) -> set[str]:
        return {finding.name for finding in checkup.of_box(config_of(), data, is_running=is_running)}

    assert names(is_running=False) - names(is_running=True) == {"store", "port"}
