"""What the doctor asks upstreams."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from deora.cli.checkup import FAILED, FINE, WARNING
from deora.cli.soundings import clock_of, judged_clock, of_upstreams, round_trip
from deora.config.database import FirestoreUpstream, PostgresUpstream, SqliteUpstream
from deora.config.schema import Config


def test_the_embedded_upstream(tmp_path: Path) -> None:
    settings = SqliteUpstream(type="sqlite", file="up.db")
    assert "when it is first needed" in asyncio.run(round_trip("primary", settings, tmp_path)).detail
    assert not (tmp_path / "up.db").exists()
    away = asyncio.run(
        round_trip("primary", SqliteUpstream(type="sqlite", file=str(tmp_path / "stick" / "up.db")), tmp_path)
    )
    assert (away.level, "mount its disk" in str(away.hint)) == (FAILED, True)
    (tmp_path / "up.db").write_bytes(b"no database" * 1000)
    assert asyncio.run(round_trip("primary", settings, tmp_path)).level == FAILED
    (tmp_path / "up.db").write_bytes(b"")
    found = list(
        of_upstreams(Config.from_wire({"database": {"primary": {"type": "sqlite", "file": "up.db"}}}), tmp_path)
    )
    assert [(each.level, "it answers, within" in each.detail) for each in found] == [(FINE, True)]


def test_who_does_not_answer(tmp_path: Path) -> None:
    settings = PostgresUpstream(type="postgres", url="postgresql://a:b@127.0.0.1:1/x")
    found = asyncio.run(round_trip("secondary", settings, tmp_path))
    assert (found.name, found.level) == ("upstream secondary", FAILED)
    assert "check the link" in str(found.hint)
    assert list(clock_of("secondary", settings)) == []


@pytest.mark.parametrize(
    ("off_s", "level", "said"),
    [(2.0, FINE, "within 2 s"), (90.0, WARNING, "90 s ahead of"), (-400.0, WARNING, "400 s behind")],
)
def test_a_clock_that_is_off(off_s: float, level: str, said: str) -> None:
    found = judged_clock("primary", off_s)
    assert (found.level, said in found.detail) == (level, True)


class _Old(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.send_response_only(404)
        self.send_header("Date", "Sat, 31 Jan 2026 12:00:00 GMT")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    """An HTTP server with a clock of its own."""
    with HTTPServer(("127.0.0.1", 0), _Old) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield f"127.0.0.1:{made.server_address[1]}"
        made.shutdown()
        thread.join()


def test_upstreams_own_time_counts(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = FirestoreUpstream(type="firestore", project="p", emulator_host=server)
    monkeypatch.setattr("deora.cli.soundings.time.time", lambda: 1_769_860_800 + 3600.0)
    [found] = clock_of("primary", settings)
    assert (found.level, "3600 s ahead of upstream primary" in found.detail) == (WARNING, True)
