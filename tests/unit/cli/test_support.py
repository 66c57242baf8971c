"""`deora support-bundle`: all that helps, and no secret."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from deora.cli.support import ROOT, cleaned, log_lines, secrets_of
from deora.config.schema import Config
from tests.fakes.control import ControlServer, Routes

Deora = Callable[..., Result]

HASH = "sha256:" + "ca11ab1e" * 8
# Each setting that is secret, with a canary in it.
SECRETS: dict[str, Any] = {
    "database": {"primary": {"type": "postgres", "url": "postgresql://u:canary%2Dpg@127.0.0.1:1/db"}},
    "cache": {"redis": {"url": "redis://:canary-redis@127.0.0.1:1/0"}},
    "security": {"tokens": [{"name": "till", "hash": HASH, "scope": "read"}]},
    "operations": {
        "alerts": {"webhook": "https://h.test/canary-hook", "sentry_dsn": "https://canarydsn@s.test/1"},
    },
}
CANARIES = ("canary-pg", "canary%2Dpg", "canary-redis", "ca11ab1e" * 8, "canary-hook", "canarydsn", "canary-document")


def read(file: Path) -> dict[str, str]:
    found = {}
    with tarfile.open(file) as archive:
        for member in archive.getmembers():
            content = archive.extractfile(member)
            assert content is not None
            found[member.name.removeprefix(f"{ROOT}/")] = content.read().decode()
    return found


@pytest.fixture
def box(tmp_path: Path) -> tuple[str, ...]:
    """The options of a box with secrets everywhere, in its log lines, too."""
    config, data = tmp_path / "config", tmp_path / "data"
    config.mkdir()
    for name, content in SECRETS.items():
        (config / f"{name}.json").write_text(json.dumps(content))
    (data / "logs").mkdir(parents=True)
    lines: list[Any] = [
        {"level": "info", "message": f"connecting to {SECRETS['cache']['redis']['url']}", "took_s": 1.5},
        {"level": "warning", "message": "an entry is dead: upstream refuses it: canary-document", "number": 7},
        {"level": "warning", "message": "x", "error": 'invalid value "canary-document"', "path": "a/canary-document"},
    ]
    (data / "logs" / "app.log").write_text(
        "".join(json.dumps(line) + "\n" for line in lines) + "no JSON canary-document\n"
    )
    return "--config", str(config), "--data", str(data)


def test_no_secret_and_no_document_is_in_it(deora: Deora, box: tuple[str, ...], tmp_path: Path) -> None:
    file = tmp_path / "s.tar.gz"
    result = deora("support-bundle", str(file), *box)
    assert result.exit_code == 0, result.output
    parts = read(file)
    assert set(parts) == {"versions.json", "config.json", "doctor.json", "logs/app.log"}
    for name, text in parts.items():
        assert [canary for canary in CANARIES if canary in text] == [], name
    first, second, third = map(json.loads, parts["logs/app.log"].splitlines())
    assert first["took_s"] == 1.5
    assert second == {"level": "warning", "message": "an entry is dead: upstream refuses it", "number": 7}
    assert third == {"level": "warning", "message": "x"}
    assert json.loads(parts["config.json"])["security"]["tokens"][0]["name"] == "till"
    assert file.stat().st_mode & 0o777 == 0o600
    assert "is there already" in deora("support-bundle", str(file), *box).stderr
    assert deora("support-bundle", str(file), "--force", *box).exit_code == 0


def test_every_secret_setting_has_a_canary() -> None:
    secrets = secrets_of(Config.from_wire(SECRETS))
    for canary in CANARIES[:-1]:
        assert any(canary in secret for secret in secrets), canary
    assert b"canary" not in cleaned(" ".join(secrets), secrets)


def test_a_running_instance_tells_of_itself(
    deora: Deora, instance: ControlServer, routes: Routes, tmp_path: Path
) -> None:
    assert instance is not None
    routes["GET /v1/queue"] = (200, {"pending": 3})
    routes["GET /status"] = (200, {"status": "healthy", "supervisor": {"pid": 7}, "alerts": []})
    file = tmp_path / "s.tar.gz"
    result = deora("support-bundle", str(file), "--json")
    assert result.exit_code == 0, result.output
    parts = read(file)
    assert (
        {"status.json", "health.json", "queue.json", "metrics.txt"}
        <= set(json.loads(result.stdout)["parts"])
        == set(parts)
    )
    assert json.loads(parts["queue.json"]) == {"pending": 3}


def test_the_last_lines_alone(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    log.write_text("".join(json.dumps({"message": str(number)}) + "\n" for number in range(5000)))
    lines = list(log_lines(log))
    assert (len(lines), json.loads(lines[-1])) == (2000, {"message": "4999"})
