"""The environment variables with names of their own, like PORT and DATABASE_URL. Pure.

They are generic, so other programs on the box may read them too: none switches on what was not configured, but for
DATABASE_URL and REDIS_STRING, which say where a service is. Within one source (the environment, or the .env file) a
`DEORA_` variable outranks them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from deora.config.fields import Spec
from deora.config.formats import split_url
from deora.config.layers import Layers, child_spec, from_text
from deora.config.reading import Path, allowed, found
from deora.config.schema import Config
from deora.config.variables import ROOT, Setting

_REDIS_URL: Final[Path] = ("cache", "redis", "url")
_RATE_LIMIT: Final[Path] = ("security", "rate_limit", "requests")


class Variable(NamedTuple):
    """What a variable means.

    `path` is the key that it sets; with an `upstream_type` it is a key of each upstream of that type. `convert` makes
    a plain value of the text, or raises ValueError that says what is wrong; without it the text is read as that of a
    `DEORA_` variable. `completes` marks those that only amend what other sources have set.
    """

    meaning: str
    path: Path
    upstream_type: str | None = None
    convert: Callable[[str], Any] | None = None
    completes: bool = False


def put_named(layers: Layers, setting: Setting) -> None:
    """Lay a variable that sets one key, whatever else is configured, over the layers; leave out any other."""
    variable = NAMED[setting.name]
    if variable.upstream_type is None and not variable.completes:
        _put(layers, setting, variable.path)


def complete(layers: Layers, settings: Mapping[str, Setting]) -> None:
    """Apply the variables whose meaning depends on the rest. `settings` has each name's strongest."""
    for setting in settings.values():
        variable = NAMED[setting.name]
        for slot in _upstreams_of_type(layers, variable.upstream_type):
            path = ("database", slot, *variable.path)
            if layers.rank(path) < setting.origin.rank:
                _put(layers, setting, path)
    _complete_redis(layers, settings.get("REDIS_PORT_NO"), settings.get("REDIS_PASSWORD"))
    _complete_rate_limit(layers, settings.get("RATE_LIMIT_ENABLED"))


def _put(layers: Layers, setting: Setting, path: Path) -> None:
    convert = NAMED[setting.name].convert
    try:
        value = convert(setting.text) if convert else from_text(_spec_at(path), setting.text)
    except ValueError as error:
        layers.refuse(setting.origin, path, str(error))
        return
    layers.put(path, value, setting.origin)


def _spec_at(path: Path) -> Spec:
    spec = ROOT
    for step in path:
        child = child_spec(spec, str(step))
        if child is None:
            raise KeyError(path)
        spec = child
    return spec


def _upstreams_of_type(layers: Layers, upstream_type: str | None) -> list[str]:
    """The names of the upstreams that have this type once all layers are counted."""
    defaults = Config.specs["database"].default
    types = {
        slot: layers.value(("database", slot, "type")) or getattr(getattr(defaults, slot), "type", None)
        for slot in ("primary", "secondary")
    }
    return [slot for slot, each in types.items() if upstream_type and each == upstream_type]


def _complete_redis(layers: Layers, port: Setting | None, password: Setting | None) -> None:
    """Put port and password into Redis's URL, wherever that comes from, unless a stronger source names its own."""
    url, origin = layers.value(_REDIS_URL), layers.origin(_REDIS_URL)
    parts = split_url(url) if isinstance(url, str) else None
    if url is None or parts is None or origin is None or not (port or password):
        return
    user_info, _, place = parts.netloc.rpartition("@")
    user, _, own_password = user_info.partition(":")
    if password and not (own_password and origin.rank > password.origin.rank):
        user_info = f"{user}:{quote(password.text, safe='')}"
    if port and parts.scheme != "unix" and not (parts.port and origin.rank > port.origin.rank):
        if not re.fullmatch(r"0*[1-9][0-9]{0,4}", port.text) or int(port.text) > 65535:
            detail = f"found {found(Spec('integer'), port.text)}; allowed is a whole number from 1 to 65535"
            layers.refuse(port.origin, _REDIS_URL, detail)
            return
        host = place.rpartition(":")[0] if parts.port else place.removesuffix(":")
        place = f"{host}:{int(port.text)}"
    scheme, _, rest = url.partition("://")
    authority = f"{user_info}@{place}" if user_info else place
    layers.put(_REDIS_URL, f"{scheme}://{authority}{rest.removeprefix(parts.netloc)}", origin)


def _complete_rate_limit(layers: Layers, enabled: Setting | None) -> None:
    """Turn the limit off, or on with its default where something weaker turned it off."""
    if enabled is None:
        return
    switch = Spec("boolean")
    value = from_text(switch, enabled.text)
    if not isinstance(value, bool):
        detail = f"found {found(switch, value)}; allowed is {allowed(switch)}"
        layers.refuse(enabled.origin, _RATE_LIMIT, detail)
        return
    if layers.rank(_RATE_LIMIT) > enabled.origin.rank:
        return
    if not value:
        layers.put(_RATE_LIMIT, 0, enabled.origin)
    elif layers.value(_RATE_LIMIT) == 0:
        layers.put(_RATE_LIMIT, Config().security.rate_limit.requests, enabled.origin)


def _database(text: str) -> dict[str, str]:
    if re.match(r"postgres(ql)?://", text):
        return {"type": "postgres", "url": text}
    path = re.fullmatch(r"sqlite:///([^?#]+)", text)
    if path:
        return {"type": "sqlite", "file": path[1]}
    found_text = found(Spec("text", secret="password"), text)
    raise ValueError(
        f"found {found_text}; allowed are postgresql://user:password@host:5432/name, sqlite:///relative.db (under the "
        "data directory) and sqlite:////absolute/path.db"
    )


def _seconds(text: str) -> Any:
    milliseconds = from_text(Spec("number"), text)
    if isinstance(milliseconds, bool) or not isinstance(milliseconds, int | float):
        raise ValueError(f"found {found(Spec('number'), text)}; allowed is a number of milliseconds")
    return milliseconds // 1000 if milliseconds % 1000 == 0 else milliseconds / 1000


def _level(text: str) -> str:
    level = text.strip().lower()
    return "warning" if level == "warn" else level


def _ssl(text: str) -> Any:
    value = from_text(Spec("boolean"), text)
    # Encryption without a check of the certificate would not keep an attacker out, so "true" asks for both.
    return {True: "verify-full", False: "disable"}[value] if isinstance(value, bool) else value


def _redis(text: str) -> str:
    return text if "://" in text else f"redis://{text}"


NAMED: Final[dict[str, Variable]] = {
    "SERVER_ID": Variable("The name of this instance.", ("servers", "id")),
    "PORT": Variable("The port to listen on.", ("servers", "port")),
    "DATABASE_URL": Variable(
        "The primary upstream. `postgres://..` or `postgresql://..` makes it a PostgreSQL; `sqlite:///file.db` makes "
        "it a SQLite file under the data directory, `sqlite:////path/file.db` one elsewhere.",
        ("database", "primary"),
        convert=_database,
    ),
    "DB_POOL_MIN": Variable("Connections that are kept open.", ("pool", "min"), "postgres"),
    "DB_POOL_MAX": Variable("Connections at most.", ("pool", "max"), "postgres"),
    "DB_SSL": Variable(
        "`true`: encrypted, certificate and name checked (`verify-full`); `false`: not encrypted (`disable`); "
        "or a mode by its name.",
        ("ssl",),
        "postgres",
        _ssl,
    ),
    "DB_STATEMENT_TIMEOUT": Variable(
        "Milliseconds after which a statement is cancelled.", ("pool", "statement_timeout_s"), "postgres", _seconds
    ),
    "REDIS_STRING": Variable(
        "Where Redis is: a `redis://`, `rediss://` or `unix://` URL, or a host, with or without a port.",
        _REDIS_URL,
        convert=_redis,
    ),
    "REDIS_PORT_NO": Variable("The port in Redis's URL. Without a URL it does nothing.", _REDIS_URL, completes=True),
    "REDIS_PASSWORD": Variable(
        "The password in Redis's URL, as it is. Without a URL it does nothing.", _REDIS_URL, completes=True
    ),
    "RATE_LIMIT_ENABLED": Variable(
        "`false` turns the limit off (`security.rate_limit.requests` is 0); `true` turns it on with its default where "
        "a file turned it off.",
        _RATE_LIMIT,
        completes=True,
    ),
    "RATE_LIMIT_WINDOW_MS": Variable(
        "The window, in milliseconds.", ("security", "rate_limit", "window_s"), convert=_seconds
    ),
    "RATE_LIMIT_MAX_REQUESTS": Variable("Requests of one address within the window.", _RATE_LIMIT),
    "REQUIRE_HTTPS": Variable("`true` refuses plain HTTP, except from this box.", ("security", "require_https")),
    "LOG_LEVEL": Variable(
        "The least level that is logged, in any case; `warn` is `warning`.", ("logger", "level"), convert=_level
    ),
    "LOG_DIR": Variable("The directory of the log files.", ("logger", "dir")),
    "FIRESTORE_EMULATOR_HOST": Variable("Host and port of an emulator.", ("emulator_host",), "firestore"),
    "GOOGLE_APPLICATION_CREDENTIALS": Variable("The service account's key file.", ("credentials",), "firestore"),
}
"""The variables by name. Those with an `upstream_type` speak to every upstream of that type, and else do nothing."""
