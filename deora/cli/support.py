"""`deora support-bundle`: what a helper needs to see, without what is nobody's business.

In it are versions, the configuration with its secrets masked, status, health, metrics, figures of the queue, what the
doctor finds, and the last lines of the logs. Not in it are documents, their ids, tokens and passwords: of a log line
only its time, level, process and message stay, with figures and a few names; and in all that is written each secret of
the configuration is looked for, also where it should not be.
"""

from __future__ import annotations

import io
import json
import os
import sys
import tarfile
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import click

from deora.cli.client import ControlClient, ControlError
from deora.cli.doctor import examine
from deora.cli.lifecycle import load_config
from deora.cli.options import config_option, data_option, json_option
from deora.cli.project import versions
from deora.cli.terminal import show_json
from deora.config.schema import Config
from deora.errors import ConfigError, DeoraError, NotRunningError

ROOT: Final = "deora-support"
LOG_LINES: Final = 2000
LOGS: Final = ("app.log", "error.log")
HIDDEN: Final = "<hidden>"
SHORTEST: Final = 4
"""a secret that is shorter would be found everywhere"""
# Beside these, of a log line's members only figures are kept: others may quote what clients wrote.
KEPT: Final = frozenset({"time", "level", "process", "logger", "message", "upstream", "slot", "node", "epoch"})
# Of a message what comes behind these may be upstream's own words, which quote documents.
_QUOTING: Final = ("upstream refuses it", "is refused")
PAGES: Final = {
    "status.json": "/status",
    "health.json": "/health/detailed",
    "queue.json": "/v1/queue",
    "metrics.txt": "/metrics",
}


@click.command("support-bundle")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), default=Path("deora-support.tar.gz"))
@click.option("--force", is_flag=True, help="Replace FILE where it is there already.")
@config_option
@data_option
@json_option
def support_bundle(file: Path, force: bool, config: Path | None, data: Path, as_json: bool) -> None:
    """Write FILE for whoever helps you, without secrets.

    Versions, configuration, status, metrics, figures of the queue, the doctor's findings, the last log lines. No
    documents, no tokens, no passwords. Look into it before you send it: it is a tar.gz of text files.

    \b
    Example:
      deora support-bundle
    """
    if file.exists() and not force:
        raise DeoraError(f"{file} is there already", hint="name another file, or replace it with --force")
    parts = dict(contents(config, data))
    try:
        write(file, parts)
    except OSError as error:
        raise DeoraError(f"{file} cannot be written: {error.strerror}") from error
    if as_json:
        show_json({"file": str(file), "parts": sorted(parts)})
    else:
        click.echo(f"{file}: {', '.join(sorted(parts))}")
        click.echo("look into it before you send it")


def write(file: Path, parts: dict[str, bytes]) -> None:
    """A tar.gz for the owner alone, under its name once it is whole."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as target, tarfile.open(fileobj=target, mode="w:gz") as archive:
            for name, content in sorted(parts.items()):
                member = tarfile.TarInfo(f"{ROOT}/{name}")
                member.size, member.mode = len(content), 0o600
                archive.addfile(member, io.BytesIO(content))
        temporary.rename(file)
    finally:
        temporary.unlink(missing_ok=True)


def contents(config: Path | None, data: Path) -> Iterator[tuple[str, bytes]]:
    """The parts, by name."""
    loaded: Config | None = None
    faults: dict[str, Any] = {}
    try:
        loaded = load_config(config)
    except ConfigError as error:
        faults = {"problems": error.problems}
    secrets = secrets_of(loaded) if loaded is not None else []
    found: dict[str, Any] = {
        "versions.json": {**versions(), "platform": sys.platform, "kernel": os.uname().release},
        "config.json": loaded.to_display() if loaded is not None else faults,
    }
    examined = examine(config, data)
    found["doctor.json"] = {**examined, "findings": [finding.to_json() for finding in examined["findings"]]}
    for name, value in found.items():
        yield name, cleaned(json.dumps(value, indent=2), secrets)
    for name, text in pages(data):
        yield name, cleaned(text, secrets)
    folder = data / (loaded.logger.dir if loaded is not None else "logs")
    for name in LOGS:
        if (folder / name).exists():
            yield f"logs/{name}", cleaned("".join(log_lines(folder / name)), secrets)


def pages(data: Path) -> Iterator[tuple[str, str]]:
    """What a running instance says of itself."""
    client = ControlClient(data)
    for name, path in PAGES.items():
        try:
            yield name, client.ask("GET", path).body.decode("utf-8", "replace")
        except NotRunningError:
            return
        except ControlError as error:
            yield name, error.message


def log_lines(path: Path) -> Iterator[str]:
    """The last lines of a log, each with what may be shown of it."""
    with open(path, encoding="utf-8", errors="replace") as file:
        last = deque(file, maxlen=LOG_LINES)
    for line in last:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            yield (
                json.dumps({name: _shown(name, value) for name, value in record.items() if _is_kept(name, value)})
                + "\n"
            )


def _is_kept(name: str, value: Any) -> bool:
    return name in KEPT or isinstance(value, bool | int | float)


def _shown(name: str, value: Any) -> Any:
    if name == "message" and isinstance(value, str):
        for words in _QUOTING:
            if words in value:
                return value[: value.index(words) + len(words)]
    return value


def secrets_of(config: Config) -> list[str]:
    """Every value that the configuration hides, as it may stand somewhere; the longest first."""
    found: set[str] = set()
    for shown, real in _leaves(config.to_display(), config.to_wire()):
        if isinstance(real, str) and shown != real:
            found.add(real)
            parts = urlsplit(real)
            found.update(part for part in (parts.password, unquote(parts.password or "")) if part)
    return sorted((each for each in found if len(each) >= SHORTEST), key=len, reverse=True)


def _leaves(shown: Any, real: Any) -> Iterator[tuple[Any, Any]]:
    """What is shown and what there is, leaf by leaf; a whole that is hidden gives its leaves."""
    if isinstance(real, dict):
        for name, value in real.items():
            yield from _leaves(shown.get(name) if isinstance(shown, dict) else None, value)
    elif isinstance(real, list | tuple):
        for index, value in enumerate(real):
            inside = shown[index] if isinstance(shown, list | tuple) and index < len(shown) else None
            yield from _leaves(inside, value)
    else:
        yield shown, real


def cleaned(text: str, secrets: list[str]) -> bytes:
    """The text without any of the secrets."""
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    return text.encode()
