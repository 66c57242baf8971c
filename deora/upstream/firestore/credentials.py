"""Access tokens: of a service account's key file (RFC 7523: a signed JWT is traded for a token), or the emulator's.

The key file is read, and the JWT signed, in a thread: the first signature loads OpenSSL's parts for it, about 100 ms.
The exchange itself is a call on the loop. Nothing of the key is ever part of a message.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlencode

import orjson
from google.auth import crypt, jwt

from deora.upstream.base import Failure, Unauthorised, Unclear
from deora.upstream.firestore.errors import clock_fault, read_token

SCOPE: Final = "https://www.googleapis.com/auth/datastore"
TOKEN_URI: Final = "https://oauth2.googleapis.com/token"
LIFE_S: Final = 3600
# A token is renewed this long before its end, and used on while that fails.
EARLY_S: Final = 300.0
_GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"

Post = Callable[[str, bytes], Awaitable[tuple[int, Mapping[str, str], bytes] | Unclear]]
"""Sends a form to an address; HTTP status, headers and body of the answer."""


class Tokens(Protocol):
    """Where a call's token comes from."""

    async def token(self) -> str | Failure:
        """A token that is good now, or why there is none."""

    def refused(self, token: str) -> None:
        """Upstream did not take this token: the next one must be another."""


class EmulatorTokens:
    """The emulator takes this word for an administrator's."""

    async def token(self) -> str | Failure:
        """See `Tokens.token`."""
        return "owner"

    def refused(self, token: str) -> None:
        """There is no other token."""


@dataclass(frozen=True, slots=True, repr=False)
class _Account:
    """What is needed of a key file."""

    email: str
    token_uri: str
    signer: Any


class ServiceAccountTokens:
    """Tokens of a service account. `wall_s` is the clock by which Google judges (seconds since 1970)."""

    def __init__(
        self,
        file: Path,
        post: Post,
        *,
        wall_s: Callable[[], float] = time.time,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._file = file
        self._post = post
        self._wall_s = wall_s
        self._monotonic_s = monotonic_s
        self._token = ""
        self._ends_s = 0.0
        self._refreshing = asyncio.Lock()

    async def token(self) -> str | Failure:
        """See `Tokens.token`."""
        async with self._refreshing:
            left_s = self._ends_s - self._monotonic_s()
            if self._token and left_s > EARLY_S:
                return self._token
            fresh = await self._refresh()
            if isinstance(fresh, Unclear) and self._token and left_s > 0:
                return self._token
            return fresh

    def refused(self, token: str) -> None:
        """See `Tokens.refused`."""
        if token == self._token:
            self._token = ""

    async def _refresh(self) -> str | Failure:
        try:
            account, assertion = await asyncio.to_thread(self._sign)
        except OSError as error:
            return Unauthorised(f"the key file {self._file.name} cannot be read: {error.strerror}")
        except (ValueError, LookupError, TypeError):
            # Not the error's own words: they may quote the key.
            return Unauthorised(
                f"the key file {self._file.name} is no service account's key: JSON with client_email and private_key"
            )
        answer = await self._post(account.token_uri, urlencode({"grant_type": _GRANT, "assertion": assertion}).encode())
        if isinstance(answer, Unclear):
            return answer
        fresh = read_token(*answer)
        if isinstance(fresh, Unauthorised):
            fault = clock_fault(answer[1], self._wall_s())
            return Unauthorised(f"{fault} ({fresh.message})") if fault is not None else fresh
        if isinstance(fresh, Unclear):
            return fresh
        self._token, life_s = fresh
        self._ends_s = self._monotonic_s() + life_s
        return self._token

    def _sign(self) -> tuple[_Account, str]:
        """In a thread. The file is read anew each time, so that a replaced key needs no restart."""
        members = orjson.loads(self._file.read_bytes())
        account = _Account(
            members["client_email"],
            members.get("token_uri", TOKEN_URI),
            crypt.RSASigner.from_service_account_info(members),  # type: ignore[no-untyped-call]
        )
        now_s = int(self._wall_s())
        claims = {
            "iss": account.email,
            "scope": SCOPE,
            "aud": account.token_uri,
            "iat": now_s,
            "exp": now_s + LIFE_S,
        }
        assertion: bytes = jwt.encode(account.signer, claims)  # type: ignore[no-untyped-call]
        return account, assertion.decode()
