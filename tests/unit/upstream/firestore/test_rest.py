"""One call: its address, its token, what a failed connection is called."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from deora.upstream.base import Unauthorised
from deora.upstream.firestore.rest import Rest, _what_failed
from deora.upstream.firestore.values import documents_root
from tests.fakes.firestore import FakeFirestore
from tests.fakes.service_account import write_key

ROOT = documents_root("p", "(default)")


def call(rest: Rest) -> Any:
    """Asks for a document that is not there."""

    async def whole() -> Any:
        try:
            return await rest.call(ROOT, "batchGet", orjson.dumps({"documents": [f"{ROOT}/a/1"]}))
        finally:
            await rest.close()

    return asyncio.run(whole())


def test_a_key_file_opens_the_door(tmp_path: Path) -> None:
    with FakeFirestore(token="ya29.token") as fake:
        key = write_key(tmp_path / "key.json", token_uri=f"http://{fake.host}/token")
        answer = call(Rest.with_key_file(f"http://{fake.host}", key))
        assert answer[0]["missing"] == f"{ROOT}/a/1"
        assert [method for method, _ in fake.calls] == ["token", "batchGet"]


def test_without_the_key_nothing_is_sent(tmp_path: Path) -> None:
    with FakeFirestore() as fake:
        answer = call(Rest.with_key_file(f"http://{fake.host}", tmp_path / "key.json"))
        assert isinstance(answer, Unauthorised)
        assert fake.calls == []


def certificate_error(code: int, message: str) -> aiohttp.ClientConnectorCertificateError:
    cause = ssl.SSLCertVerificationError(1, message)
    cause.verify_code, cause.verify_message = code, message
    # All that aiohttp's message needs of its key is host and port.
    key = aiohttp.client_reqrep.ConnectionKey("h", 443, True, True, None, None, None)
    return aiohttp.ClientConnectorCertificateError(key, cause)


@pytest.mark.parametrize("message", ["certificate is not yet valid", "certificate has expired"])
def test_a_certificate_of_another_time_makes_the_clock_suspect(message: str) -> None:
    said = _what_failed(certificate_error(9 if "yet" in message else 10, message))
    assert said.startswith(f"{message}: is the clock of this box right?")


def test_other_failures_keep_their_own_words() -> None:
    assert "clock" not in _what_failed(certificate_error(18, "self-signed certificate"))
    assert _what_failed(ConnectionRefusedError(111, "refused")) == "no connection: [Errno 111] refused"
    assert _what_failed(aiohttp.ServerDisconnectedError()) == "no connection: Server disconnected"
    assert _what_failed(TimeoutError()) == "no answer in time"
    assert _what_failed(aiohttp.ServerTimeoutError("x")) == "no answer in time"
    assert _what_failed(aiohttp.ClientPayloadError()) == "no connection: ClientPayloadError"
