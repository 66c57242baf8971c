"""What the configuration's shape allows and this version does not do yet. Nothing is ignored in silence.

What protects the venue, or says where its data goes, refuses to start: to go on without it would be worse. The rest is
named in the log at start-up.
"""

from __future__ import annotations

import importlib.util
from typing import Final

from deora import __version__
from deora.config.abilities import IDLE, REFUSED
from deora.config.schema import Config, upstreams
from deora.config.sections import Section, plain
from deora.errors import StartError
from deora.gateway.balancer import MODES

# Type of upstream -> the packages of the extra of the same name.
_PACKAGES: Final = {"sqlite": (), "postgres": ("asyncpg",), "firestore": ("aiohttp", "google.auth")}


def check_abilities(config: Config) -> None:
    """Raises StartError for what this version must not pretend to do."""
    for name, upstream in upstreams(config).items():
        _check_packages(name, upstream.type, _PACKAGES[upstream.type])
    if config.cache.redis.url is not None and not _is_installed("redis"):
        raise StartError(
            "cache.json: redis.url is set, and the package redis is not installed",
            hint="pip install 'deora[redis]', or set redis.url to null",
        )
    mode = config.loadbalancer.mode
    if mode not in MODES:
        raise StartError(
            f"loadbalancer.json: mode is {mode!r}; DEORA {__version__} has {', '.join(MODES)}",
            hint="choose one of these",
        )
    refused = changed(config, REFUSED)
    if refused:
        raise StartError(
            f"DEORA {__version__} does not have {', '.join(refused)} yet",
            hint="leave it at its default",
        )


def _check_packages(name: str, extra: str, packages: tuple[str, ...]) -> None:
    """Raises StartError where a package of an extra is missing. Looks for them and imports none."""
    missing = [package for package in packages if not _is_installed(package)]
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


def idle_settings(config: Config) -> list[str]:
    """The settings that were changed and have no effect in this version."""
    return changed(config, IDLE)


def changed(config: Config, keys: tuple[str, ...]) -> list[str]:
    """Those of `keys` whose value is not the default."""
    default = Config.from_wire({})
    return [key for key in keys if _value(config, key) != _value(default, key)]


def _value(config: Config, key: str) -> object:
    value: object = config
    for name in key.split("."):
        value = getattr(value, name)
    return plain(value) if isinstance(value, Section) else value
