"""What the configuration asks for and this installation cannot do: a missing package refuses to start, and what has no
effect yet is named in the log."""

from __future__ import annotations

import importlib.util
from typing import Final

from deora.config.schema import Config, upstreams
from deora.config.sections import Section, plain
from deora.errors import StartError

# Type of upstream -> the packages of the extra of the same name.
_PACKAGES: Final = {"sqlite": (), "postgres": ("asyncpg",), "firestore": ("aiohttp", "google.auth")}


def check_abilities(config: Config) -> None:
    """Raises StartError for a package that the configuration needs and that is not installed."""
    for name, upstream in upstreams(config).items():
        _check_packages(name, upstream.type)
    if config.cache.redis.url is not None and not _is_installed("redis"):
        raise StartError(
            "cache.json: redis.url is set, and the package redis is not installed",
            hint="pip install 'deora[redis]', or set redis.url to null",
        )
    if config.operations.alerts.sentry_dsn is not None and not _is_installed("sentry_sdk"):
        raise StartError(
            "operations.json: alerts.sentry_dsn is set, and the package sentry-sdk is not installed",
            hint="pip install 'deora[sentry]', or set alerts.sentry_dsn to null",
        )


def missing_packages(extra: str) -> list[str]:
    """What a type of upstream needs and is not installed. Looks for the packages and imports none."""
    return [package for package in _PACKAGES[extra] if not _is_installed(package)]


def _check_packages(name: str, extra: str) -> None:
    """Raises StartError where a package of an extra is missing."""
    missing = missing_packages(extra)
    if missing:
        raise StartError(
            f"database.json: {name} is of type {extra!r}, which needs {', '.join(missing)}",
            hint=f"install it: pip install 'deora[{extra}]'",
        )


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        # The package around it is missing.
        return False


def changed(config: Config, keys: tuple[str, ...]) -> list[str]:
    """Those of `keys` whose value is not the default."""
    default = Config.from_wire({})
    return [key for key in keys if value_of(config, key) != value_of(default, key)]


def value_of(config: Config, key: str) -> object:
    """The value of a dotted key, a section as plain values."""
    value: object = config
    for name in key.split("."):
        value = getattr(value, name)
    return plain(value) if isinstance(value, Section) else value
