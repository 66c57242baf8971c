"""Tokens of a service account: a key of our own, and a token endpoint that is a function."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives import serialization
from google.auth import jwt

from deora.upstream.base import Unauthorised, Unclear
from deora.upstream.firestore.credentials import EmulatorTokens, ServiceAccountTokens
from tests.fakes.clock import ManualClock
from tests.fakes.service_account import private_key, write_key

T = TypeVar("T")
NOON_S = 1_769_860_800.0
GOOD = {"access_token": "token-1", "expires_in": 3600, "token_type": "Bearer"}


class Endpoint:
    """A token endpoint: answers in turn, the last one for ever."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, dict[str, list[str]]]] = []
        self.headers: dict[str, str] = {}

    async def post(self, url: str, form: bytes) -> tuple[int, Mapping[str, str], bytes] | Unclear:
        self.asked.append((url, parse_qs(form.decode())))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Unclear):
            return answer
        status, members = answer
        return status, self.headers, json.dumps(members).encode()


def run(scenario: Callable[[], Awaitable[T]]) -> T:
    async def whole() -> T:
        return await scenario()

    return asyncio.run(whole())


def tokens_of(file: Path, endpoint: Endpoint, clock: ManualClock) -> ServiceAccountTokens:
    return ServiceAccountTokens(file, endpoint.post, wall_s=lambda: NOON_S, monotonic_s=clock.monotonic_s)


def test_a_signed_grant_is_traded_for_a_token(tmp_path: Path) -> None:
    endpoint = Endpoint((200, GOOD))

    async def scenario() -> object:
        return await tokens_of(write_key(tmp_path / "key.json"), endpoint, ManualClock()).token()

    assert run(scenario) == "token-1"
    [(url, form)] = endpoint.asked
    assert url == "https://token.example/token"
    assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    public = (
        private_key()
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    header, claims, _, _ = jwt._unverified_decode(form["assertion"][0])  # type: ignore[no-untyped-call]
    assert jwt.decode(form["assertion"][0], public, verify=False) == claims  # type: ignore[no-untyped-call]
    assert (header["alg"], header["kid"]) == ("RS256", "k1")
    assert claims == {
        "iss": "deora@p.iam.gserviceaccount.com",
        "scope": "https://www.googleapis.com/auth/datastore",
        "aud": "https://token.example/token",
        "iat": int(NOON_S),
        "exp": int(NOON_S) + 3600,
    }


def test_a_token_is_used_until_shortly_before_its_end(tmp_path: Path) -> None:
    endpoint = Endpoint((200, GOOD), (200, {**GOOD, "access_token": "token-2"}))
    clock = ManualClock()

    async def scenario() -> list[object]:
        tokens = tokens_of(write_key(tmp_path / "key.json"), endpoint, clock)
        seen: list[object] = [await tokens.token()]
        clock.advance(3299)
        seen.append(await tokens.token())
        clock.advance(2)
        return [*seen, await tokens.token()]

    assert run(scenario) == ["token-1", "token-1", "token-2"]


def test_many_who_ask_at_once_make_one_exchange(tmp_path: Path) -> None:
    endpoint = Endpoint((200, GOOD))

    async def scenario() -> list[object]:
        tokens = tokens_of(write_key(tmp_path / "key.json"), endpoint, ManualClock())
        return list(await asyncio.gather(*(tokens.token() for _ in range(5))))

    assert run(scenario) == ["token-1"] * 5
    assert len(endpoint.asked) == 1


def test_while_it_cannot_be_renewed_the_old_one_is_used_to_its_end(tmp_path: Path) -> None:
    offline = Unclear("no connection")
    endpoint = Endpoint((200, GOOD), offline)
    clock = ManualClock()

    async def scenario() -> list[object]:
        tokens = tokens_of(write_key(tmp_path / "key.json"), endpoint, clock)
        seen: list[object] = [await tokens.token()]
        clock.advance(3400)
        seen.append(await tokens.token())
        clock.advance(201)
        return [*seen, await tokens.token()]

    assert run(scenario) == ["token-1", "token-1", offline]


def test_a_refused_token_is_used_no_more(tmp_path: Path) -> None:
    endpoint = Endpoint((200, GOOD), (200, {**GOOD, "access_token": "token-2"}))

    async def scenario() -> list[object]:
        tokens = tokens_of(write_key(tmp_path / "key.json"), endpoint, ManualClock())
        first = await tokens.token()
        tokens.refused("token-of-long-ago")
        same = await tokens.token()
        tokens.refused("token-1")
        return [first, same, await tokens.token()]

    assert run(scenario) == ["token-1", "token-1", "token-2"]


REFUSED = (400, {"error": "invalid_grant", "error_description": "Invalid JWT: Check your iat and exp values."})


def test_a_refused_grant_pauses_and_a_wrong_clock_is_named(tmp_path: Path) -> None:
    endpoint = Endpoint(REFUSED)
    file = write_key(tmp_path / "key.json")
    plain = run(lambda: tokens_of(file, endpoint, ManualClock()).token())
    said = "no access token: invalid_grant: Invalid JWT: Check your iat and exp values."
    assert plain == Unauthorised(said)
    endpoint.headers = {"Date": "Sat, 31 Jan 2026 17:00:00 GMT"}
    named = run(lambda: tokens_of(file, endpoint, ManualClock()).token())
    assert isinstance(named, Unauthorised)
    assert named.message.startswith("the clock of this box is wrong: it says 2026-01-31 12:00 UTC, Google says")
    assert "5 hours behind" in named.message
    assert said in named.message


def test_a_key_file_that_is_not_there_is_named_and_looked_for_again(tmp_path: Path) -> None:
    file = tmp_path / "key.json"
    endpoint = Endpoint((200, GOOD))

    async def scenario() -> list[object]:
        tokens = tokens_of(file, endpoint, ManualClock())
        missing = await tokens.token()
        write_key(file)
        return [missing, await tokens.token()]

    assert run(scenario) == [Unauthorised("the key file key.json cannot be read: No such file or directory"), "token-1"]


@pytest.mark.parametrize(
    "content",
    ["", "{}", "[]", "no json secret", '{"client_email": "x", "private_key": "secret"}', '{"private_key": 7}'],
)
def test_a_wrong_key_file_is_refused_without_showing_it(tmp_path: Path, content: str) -> None:
    file = tmp_path / "key.json"
    file.write_text(content)
    refused = run(lambda: tokens_of(file, Endpoint((200, GOOD)), ManualClock()).token())
    assert isinstance(refused, Unauthorised)
    assert "key.json is no service account's key" in refused.message
    assert "secret" not in refused.message


def test_the_emulator_takes_one_word() -> None:
    tokens = EmulatorTokens()
    tokens.refused("owner")
    assert run(tokens.token) == "owner"
