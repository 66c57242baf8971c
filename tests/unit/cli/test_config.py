"""`deora config check|show|diff|schema`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

from deora.cli.config import lines_of

Deora = Callable[..., Result]


def _write(directory: Path, name: str, content: str) -> None:
    directory.mkdir(exist_ok=True)
    (directory / name).write_text(content)


def test_check_of_the_defaults(deora: Deora) -> None:
    result = deora("config", "check")
    assert (result.exit_code, result.stdout) == (0, "the built-in defaults: no faults\n")
    assert json.loads(deora("config", "check", "--json").stdout) == {"valid": True, "problems": []}


def test_check_names_every_fault(deora: Deora, tmp_path: Path) -> None:
    _write(tmp_path / "c", "servers.json", '{"prot": 1}')
    _write(tmp_path / "c", "queue.json", '{"max_entries": "many"}')
    result = deora("config", "check", "--config", "c")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "prot" in result.stderr
    assert "max_entries" in result.stderr
    result = deora("config", "check", "--config", "c", "--json")
    answer = json.loads(result.stdout)
    assert (result.exit_code, result.stderr, answer["valid"], len(answer["problems"])) == (1, "", False, 2)


def test_check_names_the_directory(deora: Deora, tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    assert deora("config", "check").stdout == f"{tmp_path / 'config'}: no faults\n"


def test_show_has_every_key_with_the_value_in_force(deora: Deora, tmp_path: Path) -> None:
    _write(tmp_path / "config", "servers.json", '{"port": 3100}')
    (tmp_path / ".env").write_text("DEORA_SERVERS__HOST=::1\n")
    lines = deora("config", "show", env={"LOG_LEVEL": "debug"}).stdout.splitlines()
    assert {"servers.port = 3100", 'servers.host = "::1"', 'logger.level = "debug"'} <= set(lines)
    assert json.loads(deora("config", "show", "--json").stdout)["servers"]["port"] == 3100


def test_show_hides_secrets(deora: Deora) -> None:
    result = deora("config", "show", env={"DATABASE_URL": "postgresql://till:geheim@db.example/x"})
    assert result.exit_code == 0
    assert "geheim" not in result.stdout
    assert "db.example" in result.stdout


def test_show_of_a_wrong_configuration(deora: Deora, tmp_path: Path) -> None:
    _write(tmp_path / "config", "servers.json", "[]")
    result = deora("config", "show", "--json")
    assert (result.exit_code, result.stdout) == (1, "")


def test_lines() -> None:
    assert lines_of({"a": {"b": 1, "c": {}}, "d": [1, "ä"], "e": None}) == [
        "a.b = 1",
        "a.c = {}",
        'd = [1, "ä"]',
        "e = null",
    ]


def test_diff_shows_what_is_not_the_default(deora: Deora, tmp_path: Path) -> None:
    assert "all is as by default" in deora("config", "diff").stdout
    assert json.loads(deora("config", "diff", "--json").stdout) == {}
    _write(tmp_path / "c", "queue.json", '{"max_entries": 7, "on_dead": "continue"}')
    _write(tmp_path / "c", "operations.json", '{"alerts": {"webhook": "https://h.test/secret"}}')
    url = "postgresql://u:secret@h/x"
    _write(tmp_path / "c", "database.json", json.dumps({"primary": {"type": "postgres", "url": url}}))
    result = deora("config", "diff", "--config", "c")
    assert "queue.max_entries = 7  # default: 1000000" in result.stdout
    assert "on_dead" not in result.stdout
    assert "secret" not in result.stdout
    changed = json.loads(deora("config", "diff", "--config", "c", "--json").stdout)
    assert changed["database.primary.type"] == {"value": "postgres", "default": "sqlite"}
    assert changed["database.primary.file"] == {"value": None, "default": "upstream.db"}
    assert changed["operations.alerts.webhook"]["default"] is None


def test_schema_of_one_file_and_of_all(deora: Deora) -> None:
    one = json.loads(deora("config", "schema", "queue.json").stdout)
    assert one["properties"]["max_entries"]["type"] == "integer"
    assert json.loads(deora("config", "schema").stdout)["queue"] == one
    result = deora("config", "schema", "nope")
    assert (result.exit_code, "the files are servers" in result.stderr) == (2, True)
