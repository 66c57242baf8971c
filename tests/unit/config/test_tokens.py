"""The tokens of security.json: what is written, what is kept, what is refused."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from deora.config.load import load
from deora.config.tokens import add_token, list_tokens, remove_token
from deora.errors import ConfigError, DeoraError
from deora.gateway.access import Access, Scope


def test_a_token_is_returned_once_and_kept_as_its_hash(tmp_path: Path) -> None:
    secret = add_token(tmp_path, "till-3", "write")
    text = (tmp_path / "security.json").read_text()
    assert secret not in text
    digest = hashlib.sha256(secret.encode()).hexdigest()
    assert json.loads(text) == {"tokens": [{"name": "till-3", "hash": f"sha256:{digest}", "scope": "write"}]}
    config = load(tmp_path, environ={}, dotenv=None)
    access = Access(config.security.tokens)
    assert access.grant_of(f"Bearer {secret}".encode())[:2] == (Scope.WRITE, b"till-3")


def test_what_else_the_file_holds_stays(tmp_path: Path) -> None:
    file = tmp_path / "security.json"
    file.write_text('{"limits": {"body": "1MiB"}, "tokens": [], "trusted_proxies": ["10.0.0.1"]}')
    file.chmod(0o640)
    add_token(tmp_path, "kitchen", "read")
    members = json.loads(file.read_text())
    assert members["limits"] == {"body": "1MiB"}
    assert members["trusted_proxies"] == ["10.0.0.1"]
    assert file.stat().st_mode & 0o777 == 0o640
    assert os.listdir(tmp_path) == ["security.json"]


def test_a_new_file_is_its_owners_alone(tmp_path: Path) -> None:
    add_token(tmp_path / "config", "till", "write")
    assert (tmp_path / "config/security.json").stat().st_mode & 0o777 == 0o600


def test_two_tokens_are_two(tmp_path: Path) -> None:
    first, second = (add_token(tmp_path, name, "read") for name in ("a", "b"))
    assert first != second
    assert [one.name for one in list_tokens(tmp_path)] == ["a", "b"]
    assert list_tokens(tmp_path)[0].fingerprint == hashlib.sha256(first.encode()).hexdigest()[:8]


def test_a_token_is_taken_away(tmp_path: Path) -> None:
    for name in ("a", "b"):
        add_token(tmp_path, name, "read")
    remove_token(tmp_path, "a")
    assert [one.name for one in list_tokens(tmp_path)] == ["b"]
    with pytest.raises(DeoraError, match="there is no token 'a'") as caught:
        remove_token(tmp_path, "a")
    assert caught.value.hint == "there is: b"


def test_a_name_is_taken_once(tmp_path: Path) -> None:
    add_token(tmp_path, "a", "read")
    with pytest.raises(DeoraError, match="there is a token 'a' already"):
        add_token(tmp_path, "a", "admin")
    with pytest.raises(DeoraError, match="is no name for a token"):
        add_token(tmp_path, "two words", "admin")
    assert [one.scope for one in list_tokens(tmp_path)] == ["read"]


@pytest.mark.parametrize(
    "text", ['{"tokens": {', "[]", '{"tokens": {}}', '{"tokens": ["x"]}', '{"tokens": [], "tokens": []}']
)
def test_a_file_that_a_person_must_look_at_is_left_alone(tmp_path: Path, text: str) -> None:
    file = tmp_path / "security.json"
    file.write_text(text)
    with pytest.raises(ConfigError):
        add_token(tmp_path, "a", "read")
    assert file.read_text() == text
