"""Tagged values and their normal forms."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deora.documents.tags import TAGS, TagFault


def normalise(tag: str, value: Any) -> Any:
    return TAGS[tag]({tag: value})[tag]


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("2026-01-31T12:00:00.123456Z", "2026-01-31T12:00:00.123456Z"),
        ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00.000000Z"),
        ("2026-01-31T12:00:00.1Z", "2026-01-31T12:00:00.100000Z"),
        ("2026-01-31T12:00:00.123Z", "2026-01-31T12:00:00.123000Z"),
        ("2026-01-31T12:00:00.123456999Z", "2026-01-31T12:00:00.123456Z"),
        ("1969-12-31T23:59:59.9999999Z", "1969-12-31T23:59:59.999999Z"),
        ("2026-01-31t12:00:00z", "2026-01-31T12:00:00.000000Z"),
        ("2026-01-31T12:00:00+02:00", "2026-01-31T10:00:00.000000Z"),
        ("2026-01-31T23:30:00.5-01:45", "2026-02-01T01:15:00.500000Z"),
        ("2026-01-31T12:00:00-00:00", "2026-01-31T12:00:00.000000Z"),
        ("2024-02-29T00:00:00.000000Z", "2024-02-29T00:00:00.000000Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000Z"),
        ("9999-12-31T23:59:59.999999999Z", "9999-12-31T23:59:59.999999Z"),
        ("9999-12-31T23:59:59+00:01", "9999-12-31T23:58:59.000000Z"),
    ],
)
def test_a_timestamp_becomes_utc_with_six_digits(text: str, normal: str) -> None:
    assert normalise("$timestamp", text) == normal


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-01-31",
        "2026-01-31T12:00:00",
        "2026-01-31 12:00:00Z",
        "2026-01-31T12:00Z",
        "2026-01-31T12:00:00.Z",
        "2026-01-31T12:00:00.1234567890Z",
        "2026-01-31T12:00:00,5Z",
        "2026-01-31T24:00:00Z",
        "2026-01-31T24:00:00.000000Z",
        "2026-01-31T12:60:00Z",
        "2026-06-30T23:59:60Z",
        "2026-02-29T00:00:00Z",
        "2026-02-29T00:00:00.000000Z",
        "2026-02-30T00:00:00.000000Z",
        "2026-13-01T00:00:00Z",
        "2026-00-01T00:00:00.000000Z",
        "0000-01-01T00:00:00Z",
        "0000-01-01T00:00:00.000000Z",
        "10000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
        "2026-01-31T12:00:00+2:00",
        "2026-01-31T12:00:00+0200",
        "2026-01-31T12:00:00+24:00",
        "2026-01-31T12:00:00+02:60",
        "2026-01-31T12:00:00Z ",
        "2026-01-31T12:00:00.000000Z\n",
        "٢٠٢٦-01-31T12:00:00Z",
        "x" * 10_000,
    ],
)
def test_what_is_no_timestamp_is_refused(text: str) -> None:
    with pytest.raises(TagFault) as caught:
        normalise("$timestamp", text)
    assert len(str(caught.value)) < 250


@given(st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1)), st.integers(-1439, 1439))
@settings(deadline=None)
def test_any_moment_with_any_offset_stays_the_same_moment(moment: datetime, offset_min: int) -> None:
    local = moment.replace(tzinfo=timezone(timedelta(minutes=offset_min)))
    normal = normalise("$timestamp", local.isoformat())
    assert datetime.fromisoformat(normal) == local
    assert normal == local.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    tagged = {"$timestamp": normal}
    assert TAGS["$timestamp"](tagged) is tagged


@pytest.mark.parametrize(("text", "normal"), [("", ""), ("AAEC", "AAEC"), ("QQ==", "QQ=="), ("QR==", "QQ==")])
def test_bytes_are_encoded_anew(text: str, normal: str) -> None:
    assert normalise("$bytes", text) == normal


@pytest.mark.parametrize(
    "text", ["Q", "QQ", "QQ=", "QQ===", "=QQ=", "QQ==QQ==", "Q Q=", "QQ==\n", "-_8=", "é", "Q=Q=", "===="]
)
def test_what_is_no_strict_base64_is_refused(text: str) -> None:
    with pytest.raises(TagFault, match="base64"):
        normalise("$bytes", text)


def test_a_geopoint_becomes_two_doubles() -> None:
    normal = normalise("$geopoint", {"longitude": -180, "latitude": 90})
    assert normal == {"latitude": 90.0, "longitude": -180.0}
    assert all(type(degrees) is float for degrees in normal.values())


@pytest.mark.parametrize(
    ("point", "said"),
    [
        ([1, 2], "exactly the members"),
        ({"latitude": 1}, "exactly the members"),
        ({"latitude": 1, "longitude": 2, "altitude": 3}, "exactly the members"),
        ({"latitude": True, "longitude": 2}, "latitude is a number; found a boolean"),
        ({"latitude": 1, "longitude": "2"}, "longitude is a number; found a string"),
        ({"latitude": 90.00001, "longitude": 2}, "-90 to 90"),
        ({"latitude": 1, "longitude": -181}, "-180 to 180"),
        ({"latitude": 2**63 - 1, "longitude": 0}, "-90 to 90"),
    ],
)
def test_what_is_no_geopoint_is_refused(point: Any, said: str) -> None:
    with pytest.raises(TagFault, match=said):
        normalise("$geopoint", point)


def test_a_reference_is_a_document_path() -> None:
    assert normalise("$reference", "users/u1") == "users/u1"
    for path in ("users", "users/__x__", "", "a//b"):
        with pytest.raises(TagFault):
            normalise("$reference", path)


@pytest.mark.parametrize("tag", ["$timestamp", "$bytes", "$reference"])
@pytest.mark.parametrize("value", [None, True, 5, [], {}])
def test_a_tag_of_the_wrong_type_names_what_was_found(tag: str, value: Any) -> None:
    with pytest.raises(TagFault, match=re.escape("found ")):
        normalise(tag, value)
