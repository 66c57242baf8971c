"""security.json's part of the schema. Pure."""

from __future__ import annotations

from deora.config.fields import KIB, MIB, Spec, boolean, choice, integer, list_of, nested, number, size, text
from deora.config.sections import Section, section


@section
class Token(Section):
    """A bearer token, as its hash."""

    name: str = text("Whose token this is; it shows in the audit log.", rule="id")
    hash: str = text("The SHA-256 of the token, as `sha256sum` prints it.", rule="token_hash", secret="value")
    scope: str = choice("What it may do: `admin` includes `write`, which includes `read`.", ("read", "write", "admin"))


@section
class Cors(Section):
    """Which web pages may call."""

    origins: tuple[str, ...] = list_of(
        Spec("text", rule="origin"),
        "Origins whose pages may call this service. Empty: CORS is off.",
        default=(),
    )


@section
class RateLimit(Section):
    """How often one address may ask."""

    requests: int = integer(
        "Requests of one address within the window, outside loopback; 0 turns the limit off.",
        default=100,
        minimum=0,
        maximum=10_000_000,
    )
    window_s: float = number("The length of the window.", default=10, minimum=0.1, maximum=86400)


@section
class Tls(Section):
    """The service's own certificate."""

    cert: str | None = text(
        "The certificate chain, a PEM file. `null`: plain HTTP.", default=None, rule="file", nullable=True
    )
    key: str | None = text("Its private key, a PEM file.", default=None, rule="file", nullable=True)


@section
class Limits(Section):
    """What one client may ask of this box."""

    body: int = size("A larger body is a 413.", default=4 * MIB, minimum=KIB, maximum=32 * MIB)
    headers: int = size("Larger headers are a 431.", default=16 * KIB, minimum=KIB, maximum=32 * KIB)
    target: int = size("A longer request target is a 414.", default=8 * KIB, minimum=256, maximum=16 * KIB)
    header_timeout_s: float = number("The headers must be here within this.", default=10, minimum=0.1, maximum=600)
    connections_per_address: int = integer("Connections of one address.", default=200, minimum=1, maximum=100_000)
    streams: int = integer("Change streams in all.", default=200, minimum=0, maximum=100_000)


@section
class Security(Section):
    """security.json: who may do what, and how much of it."""

    tokens: tuple[Token, ...] = list_of(
        Spec("section", section=Token, secret="value"),
        "The bearer tokens. Empty: no token is needed, and only loopback may be listened on.",
        default=(),
    )
    trusted_proxies: tuple[str, ...] = list_of(
        Spec("text", rule="network"),
        "Proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed.",
        default=(),
    )
    allowed_hosts: tuple[str, ...] = list_of(
        Spec("text", rule="host"),
        "Names and addresses that a request's `Host` may name, without ports. "
        "Empty: loopback names, the box's own addresses and its host name.",
        default=(),
    )
    require_https: bool = boolean(
        "Refuse plain HTTP, except from this box itself. A trusted proxy's `X-Forwarded-Proto` counts.", default=False
    )
    cors: Cors = nested(Cors, "Web pages of other origins.", default=Cors())
    rate_limit: RateLimit = nested(RateLimit, "How often one address may ask.", default=RateLimit())
    tls: Tls = nested(Tls, "The service's own certificate. Relative files: under the data directory.", default=Tls())
    limits: Limits = nested(Limits, "What one client may ask of this box.", default=Limits())
