"""The bearer tokens of security.json: made, added, listed, taken away. A token itself is shown once and never kept."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from deora.config.formats import RULES, follows
from deora.config.texts import parse_json
from deora.errors import ConfigError, DeoraError

FILE_NAME: Final = "security.json"
# Tells a secret scanner, and whoever finds one in a log, what it is.
_PREFIX: Final = "deora_"
_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Listed:
    """A token as security.json knows it; of its hash only what tells two of them apart."""

    name: str
    scope: str
    fingerprint: str


def add_token(directory: Path, name: str, scope: str) -> str:
    """Makes a token, writes its hash to security.json, and returns it. Raises DeoraError: see `_tokens`, name taken."""
    if not follows("id", name):
        raise DeoraError(f"{name!r} is no name for a token", hint=f"a name is {RULES['id'].allowed}")
    members = _read(directory)
    tokens = _tokens(directory, members)
    if any(token.get("name") == name for token in tokens):
        raise DeoraError(
            f"there is a token {name!r} already",
            hint=f"choose another name, or take that one away first: deora token rm {name}",
        )
    secret = _PREFIX + secrets.token_urlsafe(_BYTES)
    digest = hashlib.sha256(secret.encode()).hexdigest()
    tokens.append({"name": name, "hash": f"sha256:{digest}", "scope": scope})
    _write(directory, {**members, "tokens": tokens})
    return secret


def list_tokens(directory: Path) -> list[Listed]:
    """The tokens of security.json in their order."""
    return [
        Listed(str(token.get("name")), str(token.get("scope")), str(token.get("hash")).removeprefix("sha256:")[:8])
        for token in _tokens(directory, _read(directory))
    ]


def remove_token(directory: Path, name: str) -> None:
    """Takes a token out of security.json. Raises DeoraError where there is none of that name."""
    members = _read(directory)
    tokens = _tokens(directory, members)
    kept = [token for token in tokens if token.get("name") != name]
    if len(kept) == len(tokens):
        names = ", ".join(str(token.get("name")) for token in tokens) or "none"
        raise DeoraError(f"there is no token {name!r}", hint=f"there is: {names}")
    _write(directory, {**members, "tokens": kept})


def _read(directory: Path) -> dict[str, Any]:
    file = directory / FILE_NAME
    try:
        members = parse_json(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return {}
    except (ValueError, UnicodeDecodeError) as error:
        raise ConfigError([f"{file}: {error}"]) from None
    if not isinstance(members, dict):
        raise ConfigError([f"{file}: found no JSON object; allowed: an object with the keys of security.json"])
    return members


def _tokens(directory: Path, members: dict[str, Any]) -> list[dict[str, Any]]:
    """The list of tokens. Raises ConfigError where it is none: nothing is written over what a person must look at."""
    tokens = members.get("tokens", [])
    if not isinstance(tokens, list) or not all(isinstance(token, dict) for token in tokens):
        raise ConfigError([f"{directory / FILE_NAME}: tokens: allowed: a list of objects with name, hash and scope"])
    return list(tokens)


def _write(directory: Path, members: dict[str, Any]) -> None:
    """Puts a new file in the place of the old one, for the same readers as before; a new one is for its owner alone."""
    file = directory / FILE_NAME
    directory.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{FILE_NAME}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(json.dumps(members, indent=2, ensure_ascii=False) + "\n")
            stream.flush()
            if file.exists():
                before = file.stat()
                os.fchmod(stream.fileno(), before.st_mode & 0o7777)
                if os.geteuid() == 0:
                    os.fchown(stream.fileno(), before.st_uid, before.st_gid)
            os.fsync(stream.fileno())
        draft.replace(file)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
