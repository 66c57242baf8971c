"""`deora token`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

Deora = Callable[..., Result]


def test_a_token_alone_stands_on_standard_output(deora: Deora, tmp_path: Path) -> None:
    result = deora("token", "add", "till-3", "--scope", "write")
    assert result.exit_code == 0
    [secret] = result.stdout.splitlines()
    assert secret.startswith("deora_")
    assert "not shown again" in result.stderr
    assert secret not in (tmp_path / "config/security.json").read_text()


def test_the_list_shows_no_secret(deora: Deora) -> None:
    assert deora("token", "ls").stdout.startswith("no tokens")
    secret = json.loads(deora("token", "add", "till-3", "--scope", "write", "--json").stdout)["token"]
    shown = deora("token", "ls").stdout
    assert "till-3" in shown
    assert "write" in shown
    assert secret not in shown
    [listed] = json.loads(deora("token", "ls", "--json").stdout)
    assert (listed["name"], listed["scope"]) == ("till-3", "write")


def test_a_token_is_removed(deora: Deora) -> None:
    deora("token", "add", "till-3", "--scope", "write")
    assert deora("token", "rm", "till-3").exit_code == 0
    assert json.loads(deora("token", "ls", "--json").stdout) == []
    result = deora("token", "rm", "till-3")
    assert result.exit_code == 1
    assert "there is no token 'till-3'" in result.stderr


def test_a_scope_must_be_named(deora: Deora) -> None:
    assert deora("token", "add", "till-3").exit_code == 2
    assert deora("token", "add", "till-3", "--scope", "root").exit_code == 2
