"""Connections to PostgreSQL by asyncpg: hosts one after the other, encryption, the settings of a session."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import Any

import asyncpg

from deora.config.database import Pool as PoolSettings
from deora.upstream.postgres.dsn import Place


class Connector:
    """Connects to the first host that answers and takes writes, beginning with the one that did last time."""

    def __init__(self, place: Place, settings: PoolSettings) -> None:
        self._place = place
        self._settings = settings
        self._first = 0

    async def __call__(self) -> Any:
        """A connection. Raises the last host's error where none answers: OSError, TimeoutError, asyncpg's errors."""
        hosts: list[tuple[str, int] | None] = list(self._place.hosts) or [None]
        error: Exception | None = None
        for step in range(len(hosts)):
            number = (self._first + step) % len(hosts)
            try:
                connection = await self._connect(hosts[number])
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InternalClientError) as failure:
                if len(hosts) == 1:
                    raise
                error = _weightier(error, failure)
                continue
            self._first = number
            return connection
        assert error is not None
        raise error

    async def _connect(self, host: tuple[str, int] | None) -> Any:
        where = {} if host is None else {"host": host[0], "port": host[1]}
        timeout_ms = str(round(self._settings.statement_timeout_s * 1000))
        return await asyncpg.connect(
            dsn=self._place.url,
            **where,
            ssl=encryption(self._place),
            target_session_attrs=self._place.session,
            timeout=self._settings.connect_timeout_s,
            # A little later than the server, whose answer says more; it counts where no answer comes at all.
            command_timeout=self._settings.statement_timeout_s + 5,
            server_settings={
                "application_name": "deora",
                "statement_timeout": timeout_ms,
                # A box that went silent in the middle of a batch must not hold its locks for hours.
                "idle_in_transaction_session_timeout": timeout_ms,
            },
        )


def _weightier(former: Exception | None, latter: Exception) -> Exception:
    """Of two hosts' errors the one that says more: that a server answered is more than that none did."""
    return former if isinstance(former, asyncpg.PostgresError) else latter


def encryption(place: Place) -> str | ssl.SSLContext | None:
    """What asyncpg is told of encryption.

    asyncpg checks a certificate only against a file of roots, as old libpqs do. Where there is none, the roots of the
    operating system serve, as with libpq's `sslrootcert=system`: that is what a managed database has its name from.
    Raises ClientConfigurationError where the URL names a file that is not there.
    """
    if place.ssl not in ("verify-ca", "verify-full"):
        return place.ssl
    for name, file in place.tls_files.items():
        # Neither asyncpg nor OpenSSL says which file it did not find.
        if name != "sslpassword" and file != "system" and not Path(file).is_file():
            raise asyncpg.ClientConfigurationError(f"{name} names {file}, which is no file")
    roots = place.tls_files.get("sslrootcert") or os.environ.get("PGSSLROOTCERT")
    if (roots and roots != "system") or (not roots and (Path.home() / ".postgresql" / "root.crt").is_file()):
        return place.ssl
    context = ssl.create_default_context()
    context.check_hostname = place.ssl == "verify-full"
    if "sslcert" in place.tls_files:
        password = place.tls_files.get("sslpassword", "")
        context.load_cert_chain(place.tls_files["sslcert"], place.tls_files.get("sslkey"), password)
    return context
