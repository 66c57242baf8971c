"""Tagged values: what JSON cannot say, written as an object with one `$` member, and its one normal form.

    {"$timestamp": "2026-01-31T12:00:00.123456Z"}               UTC, six fraction digits
    {"$bytes": "AAEC"}                                           base64 (RFC 4648, section 4), padded
    {"$geopoint": {"latitude": 1.0, "longitude": 2.0}}           two doubles, degrees
    {"$reference": "users/u1"}                                   a document path

Each function of TAGS takes such an object, checks it and returns it in its normal form: the same object where it was
normal already. A fault raises TagFault.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

from deora.documents.paths import check_document_path
from deora.documents.wording import kind_of, shown
from deora.errors import Problem

_SECONDS: Final = r"\d{4}-\d\d-\d\d[Tt](?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d"
_OFFSET: Final = r"([+-])([01]\d|2[0-3]):([0-5]\d)"
_TIMESTAMP: Final = re.compile(rf"({_SECONDS})(?:\.(\d{{1,9}}))?(?:[Zz]|{_OFFSET})", re.ASCII)
_NORMAL_TIMESTAMP: Final = re.compile(rf"{_SECONDS}\.\d{{6}}Z".replace("[Tt]", "T"), re.ASCII)


class TagFault(Exception):
    """What is wrong with a tagged value."""


def _timestamp(tagged: dict[str, Any]) -> dict[str, Any]:
    """RFC 3339 to UTC and microseconds, rounded down as Firestore does; years 0001 to 9999."""
    text = tagged["$timestamp"]
    if type(text) is not str:
        raise TagFault(f"a string such as '2026-01-31T12:00:00.123456Z' is expected; found {kind_of(text)}")
    if _NORMAL_TIMESTAMP.fullmatch(text) is not None:
        _moment(text, text[:19])
        return tagged
    match = _TIMESTAMP.fullmatch(text)
    if match is None:
        raise TagFault(
            f"{shown(text)} is no RFC 3339 time with Z or an offset and at most nine fraction digits, "
            "such as '2026-01-31T12:00:00.123456Z'"
        )
    seconds, fraction, sign, hours, minutes = match.groups()
    offset = timedelta() if sign is None else timedelta(hours=int(hours), minutes=int(minutes))
    moment = _moment(text, seconds, -offset if sign == "-" else offset)
    return {"$timestamp": f"{moment.isoformat()}.{(fraction or '')[:6]:0<6}Z"}


def _moment(text: str, seconds: str, offset: timedelta = timedelta()) -> datetime:
    """The date and time in UTC of a timestamp's whole seconds."""
    try:
        return datetime.fromisoformat(seconds) - offset
    except (ValueError, OverflowError):
        raise TagFault(f"{shown(text)} is no date of the years 0001 to 9999 in UTC") from None


def _bytes(tagged: dict[str, Any]) -> dict[str, Any]:
    """Strict base64, encoded anew, since the unused bits of the last letter may differ."""
    text = tagged["$bytes"]
    if type(text) is not str:
        raise TagFault(f"a string of base64 is expected; found {kind_of(text)}")
    try:
        content = binascii.a2b_base64(text, strict_mode=True)
    except (binascii.Error, ValueError) as error:
        raise TagFault(f"{shown(text)} is no padded base64 of the standard alphabet: {error}") from None
    normal = binascii.b2a_base64(content, newline=False).decode("ascii")
    return tagged if normal == text else {"$bytes": normal}


def _geopoint(tagged: dict[str, Any]) -> dict[str, Any]:
    """Latitude -90 to 90 and longitude -180 to 180 degrees, as doubles."""
    point = tagged["$geopoint"]
    if type(point) is not dict or point.keys() != {"latitude", "longitude"}:
        raise TagFault("an object with exactly the members 'latitude' and 'longitude' is expected")
    normal = {}
    for name, limit in (("latitude", 90), ("longitude", 180)):
        degrees = point[name]
        if type(degrees) not in (int, float):
            raise TagFault(f"{name} is a number; found {kind_of(degrees)}")
        if not -limit <= degrees <= limit:
            raise TagFault(f"{name} is {degrees}; -{limit} to {limit} are allowed")
        normal[name] = float(degrees)
    return {"$geopoint": normal}


def _reference(tagged: dict[str, Any]) -> dict[str, Any]:
    """A document path."""
    path = tagged["$reference"]
    if type(path) is not str:
        raise TagFault(f"a document path such as 'users/u1' is expected; found {kind_of(path)}")
    try:
        check_document_path(path)
    except Problem as problem:
        raise TagFault(problem.detail) from None
    return tagged


TAGS: Final[dict[str, Callable[[dict[str, Any]], dict[str, Any]]]] = {
    "$timestamp": _timestamp,
    "$bytes": _bytes,
    "$geopoint": _geopoint,
    "$reference": _reference,
}
