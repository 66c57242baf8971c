"""security.json's sections."""

from __future__ import annotations

import pytest

from deora.config.schema import Config
from deora.config.security import Token
from deora.errors import ConfigError

HASH = "sha256:" + "0" * 64


def test_tokens_are_sections() -> None:
    wire = {"security": {"tokens": [{"name": "till-1", "hash": HASH, "scope": "write"}]}}
    assert Config.from_wire(wire).security.tokens == (Token(name="till-1", hash=HASH, scope="write"),)


def test_a_star_is_no_origin() -> None:
    with pytest.raises(ConfigError, match=r"security\.cors\.origins\[0\]: found \"\*\"; allowed is an origin"):
        Config.from_wire({"security": {"cors": {"origins": ["*"]}}})


def test_what_is_secret() -> None:
    assert Token.specs["hash"].secret == "value"
    assert Token.specs["name"].secret == Token.specs["scope"].secret == ""
