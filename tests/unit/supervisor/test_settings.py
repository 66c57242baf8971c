"""What a configuration means for the supervisor itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deora.config.schema import Config
from deora.errors import StartError
from deora.supervisor import settings as module
from deora.supervisor.settings import OPERATOR_BODY_BYTES, Settings, differences, needs_restart

TOKEN = {"name": "till", "scope": "write", "hash": "sha256:" + "0" * 64}


def config(**sections: Any) -> Config:
    return Config.from_wire(sections)


def test_what_is_taken_over(tmp_path: Path) -> None:
    made = Settings.of(
        config(
            security={"limits": {"body": 4096, "header_timeout_s": 3}, "rate_limit": {"requests": 0}},
            servers={"request_timeout_s": 7},
            loadbalancer={"sticky": "cookie", "max_retries": 5},
        ),
        tmp_path,
        "127.0.0.1",
    )
    assert (made.limits.body_bytes, made.limits.head_timeout_s) == (4096, 3)
    assert made.operator_limits == replace(made.limits, body_bytes=OPERATOR_BODY_BYTES)
    assert (made.patience.request_timeout_s, made.patience.max_retries) == (7, 5)
    assert made.sticky() is not None
    assert made.door.requests is None
    assert (made.tls, made.handshake_s) == (None, None)
    assert Settings.of(config(), tmp_path, "127.0.0.1").sticky() is None


def test_an_address_that_others_reach_needs_a_token(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"security\.tokens"):
        Settings.of(config(), tmp_path, "0.0.0.0")
    assert Settings.of(config(security={"tokens": [TOKEN]}), tmp_path, "0.0.0.0").room > 0


def test_a_certificate_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"no\.pem"):
        Settings.of(config(security={"tls": {"cert": "no.pem", "key": "no.pem"}}), tmp_path, "127.0.0.1")


def test_too_few_open_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "room_for_clients", lambda _: 3)
    with pytest.raises(StartError, match="leaves 3 for connections") as refused:
        Settings.of(config(), tmp_path, "127.0.0.1")
    assert "raise it by 5" in (refused.value.hint or "")


def test_an_instance_keeps_its_address() -> None:
    new = config(servers={"port": 1, "host": "::1", "request_timeout_s": 1})
    assert needs_restart(config(), new) == ["servers.host", "servers.port"]
    assert needs_restart(new, new) == []


def test_what_differs_is_named_without_its_values() -> None:
    old = config(logger={"keep": 3})
    new = config(operations={"alerts": {"webhook": "https://hooks.example/secret"}}, security={"tokens": [TOKEN]})
    assert differences(old, new) == ["logger.keep", "operations.alerts.webhook", "security.tokens"]
    assert differences(old, old) == []
