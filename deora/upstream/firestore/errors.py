"""What an answer of Firestore or of the token endpoint means. Pure.

Firestore is judged by `error.status`, never by the HTTP code: 409 is ALREADY_EXISTS or ABORTED, 400 is INVALID_ARGUMENT
or FAILED_PRECONDITION. What carries no such status is not from Firestore (a proxy, a hotel's login page): passing
trouble. The token endpoint has no such status; there OAuth's `error` member stands for it (RFC 6749, section 5.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any, Final

import orjson

from deora.upstream.base import Unauthorised, Unclear

CLOCK_TOLERANCE_S: Final = 120.0
"""A clock that is further off than this is named. Google takes a token's times within about five minutes."""

SHOWN_CHARACTERS: Final = 500


class Meaning(Enum):
    """What an error asks for."""

    TRANSIENT = "try again"
    CREDENTIALS = "better credentials"
    DENIED = "better credentials, or another document"
    REFUSED = "another batch"


_MEANINGS: Final = {
    "UNAUTHENTICATED": Meaning.CREDENTIALS,
    "PERMISSION_DENIED": Meaning.DENIED,
    "INVALID_ARGUMENT": Meaning.REFUSED,
    "NOT_FOUND": Meaning.REFUSED,
    "ALREADY_EXISTS": Meaning.REFUSED,
    "FAILED_PRECONDITION": Meaning.REFUSED,
    "OUT_OF_RANGE": Meaning.REFUSED,
    "UNIMPLEMENTED": Meaning.REFUSED,
}
# How the emulator says that a request is too large, with RESOURCE_EXHAUSTED: trying again would never help
# (firebase-tools#8081). Production says INVALID_ARGUMENT.
_TOO_LARGE: Final = ("exceeds maximum size", "larger than max", "payload size exceeds")


@dataclass(frozen=True, slots=True)
class ApiError:
    """An error's `status`, "" where the answer is not Firestore's; its message; the pause that it asks for."""

    status: str
    message: str
    retry_after_s: float | None = None

    @property
    def meaning(self) -> Meaning:
        """What follows from it."""
        if self.status == "RESOURCE_EXHAUSTED" and any(words in self.message for words in _TOO_LARGE):
            return Meaning.REFUSED
        return _MEANINGS.get(self.status, Meaning.TRANSIENT)

    @property
    def text(self) -> str:
        """Status and message in one line, for a person."""
        message = " ".join(self.message.split())[:SHOWN_CHARACTERS]
        return f"{self.status}: {message}" if self.status else message

    def unclear(self) -> Unclear:
        """This as a passing trouble."""
        return Unclear(self.text, self.retry_after_s)


def read_answer(http_status: int, headers: Mapping[str, str], body: bytes) -> Any | ApiError:
    """The JSON of an answer, or its error: also one that a stream ends with, within an array, under HTTP 200."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ApiError("", f"an answer that is not Firestore's (HTTP {http_status}, no JSON): {_start(body)}")
    for part in answer if isinstance(answer, list) else [answer]:
        if isinstance(part, dict) and "error" in part:
            return _error(http_status, headers, part["error"])
    if http_status != 200:
        return ApiError("", f"an answer that is not Firestore's (HTTP {http_status}): {_start(body)}")
    return answer


def read_token(http_status: int, headers: Mapping[str, str], body: bytes) -> tuple[str, float] | Unclear | Unauthorised:
    """Access token and seconds of its life from the token endpoint's answer, or why there is none."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        answer = None
    members = answer if isinstance(answer, dict) else {}
    token, life_s = members.get("access_token"), members.get("expires_in", 3600)
    if http_status == 200 and isinstance(token, str) and isinstance(life_s, int | float):
        return token, float(life_s)
    code = members.get("error")
    if not isinstance(code, str) or http_status in (408, 429) or not 400 <= http_status < 500:
        # Never the body of a 200: it may hold a token.
        shown = f": {_start(body)}" if http_status != 200 else ""
        return Unclear(f"no access token: HTTP {http_status}{shown}", retry_after_s(headers))
    described = members.get("error_description", "")
    return Unauthorised(f"no access token: {code}: {described}"[:SHOWN_CHARACTERS])


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """The seconds that `Retry-After` asks for: a number, or a time, which is measured against the answer's `Date`."""
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    until, now = _moment(text), _moment(headers.get("Date", ""))
    return max(0.0, until - now) if until is not None and now is not None else None


def clock_fault(headers: Mapping[str, str], now_s: float) -> str | None:
    """What is wrong with this box's clock (`now_s`, seconds since 1970), by the answer's `Date`; None if nothing."""
    theirs_s = _moment(headers.get("Date", ""))
    if theirs_s is None or abs(theirs_s - now_s) <= CLOCK_TOLERANCE_S:
        return None
    behind = "behind" if now_s < theirs_s else "ahead"
    return (
        f"the clock of this box is wrong: it says {_clock_text(now_s)}, Google says {_clock_text(theirs_s)}, "
        f"so it is {_span_text(abs(theirs_s - now_s))} {behind}. Set it (timedatectl set-ntp true); "
        "everything goes on by itself then"
    )


def _error(http_status: int, headers: Mapping[str, str], error: Any) -> ApiError:
    if not isinstance(error, dict) or not isinstance(error.get("status"), str):
        return ApiError("", f"an answer that is not Firestore's (HTTP {http_status}): {str(error)[:SHOWN_CHARACTERS]}")
    pause_s = retry_after_s(headers)
    return ApiError(error["status"], str(error.get("message", "")), pause_s if pause_s is not None else _delay_s(error))


def _delay_s(error: dict[str, Any]) -> float | None:
    """The pause of a `google.rpc.RetryInfo` among the error's details: "1.5s"."""
    for detail in error.get("details", ()):
        if isinstance(detail, dict) and isinstance(detail.get("retryDelay"), str):
            try:
                return float(detail["retryDelay"].removesuffix("s"))
            except ValueError:
                return None
    return None


def _moment(text: str) -> float | None:
    """Seconds since 1970 of an HTTP date."""
    try:
        return parsedate_to_datetime(text).timestamp()
    except ValueError:
        return None


def _clock_text(moment_s: float) -> str:
    return datetime.fromtimestamp(moment_s, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _span_text(span_s: float) -> str:
    for unit_s, name in ((86400, "days"), (3600, "hours")):
        if span_s >= 2 * unit_s:
            return f"{span_s / unit_s:.0f} {name}"
    return f"{span_s / 60:.0f} minutes"


def _start(body: bytes) -> str:
    """The beginning of a body that is not what it should be, in one line."""
    return " ".join(body[:400].decode(errors="replace").split())[:120]
