"""One call of Firestore's REST interface: connection, token, answer or failure. It never raises for a network."""

from __future__ import annotations

import asyncio
import io
import ssl
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import aiohttp
from yarl import URL

from deora.upstream.base import Failure, Unauthorised, Unclear
from deora.upstream.firestore.credentials import EmulatorTokens, ServiceAccountTokens, Tokens
from deora.upstream.firestore.errors import ApiError, Meaning, clock_fault, read_answer
from deora.upstream.firestore.resolver import ThreadResolver

ORIGIN: Final = "https://firestore.googleapis.com"
CONNECT_TIMEOUT_S: Final = 10.0
CALL_TIMEOUT_S: Final = 60.0
CONNECTIONS: Final = 8
# A larger body is sent piece by piece, so that it does not hold up the loop.
STREAMED_BYTES: Final = 512 * 1024

# OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED.
_CLOCK_CERTIFICATE_ERRORS: Final = (9, 10)


class Rest:
    """Calls under one origin. The session is made with the first call, since it belongs to the running loop."""

    def __init__(self, origin: str, tokens: Tokens | None, *, wall_s: Callable[[], float] = time.time) -> None:
        self._origin = origin
        self._wall_s = wall_s
        self._session: aiohttp.ClientSession | None = None
        self.tokens: Tokens = tokens if tokens is not None else EmulatorTokens()

    @classmethod
    def with_key_file(cls, origin: str, file: Path) -> Rest:
        """Calls with a service account's tokens, which are fetched over the same session."""
        rest = cls(origin, None)
        rest.tokens = ServiceAccountTokens(file, rest.post_form)
        return rest

    async def call(self, parent: str, method: str, body: bytes) -> Any | ApiError | Failure:
        """`POST /v1/{parent}:{method}` with a JSON body; the answer's JSON. A token that is refused is renewed once."""
        url = f"{self._origin}/v1/{quote(parent, safe='/()')}:{method}"
        for last in (False, True):
            token = await self.tokens.token()
            if not isinstance(token, str):
                return token
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
            answer = await self._post(url, body, headers)
            if isinstance(answer, Unclear):
                return answer
            result = read_answer(*answer)
            if not isinstance(result, ApiError) or result.meaning is not Meaning.CREDENTIALS:
                return result
            self.tokens.refused(token)
            if last:
                fault = clock_fault(answer[1], self._wall_s())
                return Unauthorised(f"{fault} ({result.text})" if fault is not None else result.text)
        raise AssertionError("the second attempt returns")

    async def post_form(self, url: str, form: bytes) -> tuple[int, Mapping[str, str], bytes] | Unclear:
        """Sends a form: what the token endpoint takes."""
        return await self._post(url, form, {"Content-Type": "application/x-www-form-urlencoded"})

    async def close(self) -> None:
        """Closes the connections; the next call makes new ones."""
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()

    async def _post(
        self, url: str, body: bytes, headers: Mapping[str, str]
    ) -> tuple[int, Mapping[str, str], bytes] | Unclear:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=CONNECTIONS, resolver=ThreadResolver()),
                timeout=aiohttp.ClientTimeout(total=CALL_TIMEOUT_S, sock_connect=CONNECT_TIMEOUT_S),
            )
        try:
            data = io.BytesIO(body) if len(body) > STREAMED_BYTES else body
            async with self._session.post(URL(url, encoded=True), data=data, headers=headers) as response:
                return response.status, response.headers, await response.read()
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Unclear(_what_failed(error))


def _what_failed(error: BaseException) -> str:
    """A failed connection in words, without an address's query or a header."""
    if isinstance(error, asyncio.TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        cause = error.certificate_error
        if isinstance(cause, ssl.SSLCertVerificationError) and cause.verify_code in _CLOCK_CERTIFICATE_ERRORS:
            return f"{cause.verify_message}: is the clock of this box right? It decides which certificates are valid"
    return f"no connection: {error}" if str(error) else f"no connection: {type(error).__name__}"
