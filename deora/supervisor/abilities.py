"""What the configuration's shape allows and this version does not do yet. Nothing is ignored in silence.

What protects the venue, or says where its data goes, refuses to start: to go on without it would be worse. The rest is
named in the log at start-up.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

from deora import __version__
from deora.config.abilities import IDLE, REFUSED, UPSTREAMS
from deora.config.schema import Config, upstreams
from deora.config.sections import Section, plain
from deora.errors import StartError
from deora.gateway.balancer import MODES

# Type of upstream -> a package of the extra of the same name, without which it cannot work.
_PACKAGES: Final = {"postgres": "asyncpg"}


def check_abilities(config: Config) -> None:
    """Raises StartError for what this version must not pretend to do."""
    for name, upstream in upstreams(config).items():
        if upstream.type not in UPSTREAMS:
            raise StartError(
                f"database.json: {name} is of type {upstream.type!r}; DEORA {__version__} has {', '.join(UPSTREAMS)}",
                hint='use {"type": "sqlite", "file": "upstream.db"}',
            )
        package = _PACKAGES.get(upstream.type)
        if package is not None and find_spec(package) is None:
            raise StartError(
                f"database.json: {name} is of type {upstream.type!r}, which needs the package {package}",
                hint=f"install the extra: pip install 'deora[{upstream.type}]'",
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
            hint="leave it at its default; a proxy in front can do TLS, CORS and host checks",
        )


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
