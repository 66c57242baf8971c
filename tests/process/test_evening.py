"""The restaurant's evening on a real instance, with the upstream paused and the primary killed; and its audit."""

from __future__ import annotations

import json
import secrets
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.instance import PROJECT, Instance

EXAMPLES = PROJECT / "examples"


def test_upstream_holds_exactly_what_was_acknowledged(instance: Callable[..., Instance]) -> None:
    served = instance()
    seed = str(secrets.randbelow(1_000_000))
    small = ["--tills", "12", "--writes", "1500", "--seed", seed, "--chaos"]
    command = [sys.executable, str(EXAMPLES / "evening.py"), "--url", served.url, *small]
    finished = subprocess.run(
        [*command, "--upstream", str(served.data / "upstream.db")],
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
    )
    printed = finished.stdout + finished.stderr
    assert finished.returncode == 0, printed
    assert f"seed {seed}," in printed
    assert printed.count("primary worker killed") == 3, printed
    # Killing a worker fails no client's request, so no till had to send anything twice.
    assert " 0 requests sent again" in printed, printed
    assert "PASSED" in printed


ACKNOWLEDGED: dict[str, dict[str, Any]] = {
    "stock/espresso": {"left": 98, "sold": 2},
    "tables/1": {"status": "free", "guests": 3, "tills": ["till-01", "till-02"]},
    "orders/o1": {"total_cents": 480, "rate": 1.0},
}


@pytest.fixture
def audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Any]], list[str]]:
    """Compares ACKNOWLEDGED with an upstream file that holds the documents it is given; returns the problems."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    from evening_audit import Audit
    from evening_till import Ledger

    def problems(held: dict[str, Any]) -> list[str]:
        file = tmp_path / "upstream.db"
        db = sqlite3.connect(file)
        db.execute("CREATE TABLE deora_documents (path, collection, id, data, version, updated_at)")
        for path, data in held.items():
            collection, _, name = path.rpartition("/")
            text = json.dumps({**data, "evening": "run"})
            db.execute("INSERT INTO deora_documents VALUES (?, ?, ?, ?, 'v', 0)", (path, collection, name, text))
        db.execute("INSERT INTO deora_documents VALUES ('a/b', 'a', 'b', '{\"evening\": \"another\"}', 'v', 0)")
        db.commit()
        db.close()
        ledger = Ledger()
        for path, data in ACKNOWLEDGED.items():
            ledger.record("set", path, {**data, "evening": "run"})
        found = Audit(ledger, "run", file)
        found.compare_upstream()
        return found.problems

    return problems


def test_the_audit_passes_what_is_equal(audit: Callable[[dict[str, Any]], list[str]]) -> None:
    last_writer_and_order = {"status": "taken", "guests": 3, "tills": ["till-02", "till-01"]}
    assert audit({**ACKNOWLEDGED, "tables/1": last_writer_and_order}) == []


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"stock/espresso": {"left": 96, "sold": 4}}, "stock/espresso in upstream: left is 96, not 98"),
        ({"tables/1": {"status": "free", "guests": 3, "tills": ["till-01"]}}, "tables/1 in upstream: tills is"),
        ({"orders/o1": {"total_cents": 480, "rate": 1}}, "orders/o1 in upstream: rate is 1, not 1.0"),
        ({"orders/o2": {"total_cents": 1}}, "upstream holds, though nobody wrote it, 1 documents: orders/o2"),
    ],
)
def test_the_audit_finds_what_differs(
    audit: Callable[[dict[str, Any]], list[str]], changed: dict[str, Any], problem: str
) -> None:
    found = audit({**ACKNOWLEDGED, **changed})
    assert any(problem in line for line in found), found


def test_the_audit_finds_what_is_missing(audit: Callable[[dict[str, Any]], list[str]]) -> None:
    found = audit({path: data for path, data in ACKNOWLEDGED.items() if path != "orders/o1"})
    assert found == ["upstream lacks 1 documents: orders/o1"]
