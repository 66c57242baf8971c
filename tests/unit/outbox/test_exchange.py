"""Entries on their way to another box: every value survives exactly, and what is no entry is refused."""

from __future__ import annotations

import random
from typing import Any

import orjson
import pytest

from deora.documents.updates import read_update
from deora.documents.values import INT_MAX, INT_MIN, canonical, check_document, decode_json, timestamp_us
from deora.documents.writes import Write, encode_writes
from deora.errors import Problem
from deora.outbox.exchange import MEMBERS, Exported, Sender, cursors_json, entry_line, read_entry, read_sender

VALUES: list[Any] = [
    None,
    True,
    INT_MIN,
    INT_MAX,
    0,
    0.0,
    -0.0,
    1.0,
    1e15,
    1e22,
    5e-324,
    1.7976931348623157e308,
    0.1,
    "",
    '\u2028 \U0001f600 \x7f \\ "',
    {"$timestamp": "2026-01-31T12:00:00.123456Z"},
    {"$bytes": "AAEC"},
    {"$geopoint": {"latitude": -0.5, "longitude": 180.0}},
    {"$reference": "users/u1"},
    [1, 1.0, [], {}],
    {"a.b": {"`": 1}, "z": [None]},
]


def row(payload: bytes, **fields: Any) -> tuple[Any, ...]:
    members = {
        "id": 12,
        "state": 0,
        "upstream": "primary",
        "priority": 5,
        "created_us": 1_769_860_800_123_456,
        "attempts": 2,
        "error": None,
        "commit_no": 9,
        "number": 7,
        "node": None,
        "epoch": None,
    } | fields
    return (*members.values(), payload)


def there_and_back(payload: bytes, **fields: Any) -> Exported:
    """A row through the text of a file."""
    return read_entry(decode_json(orjson.dumps(entry_line(row(payload, **fields), set(), "me", "e1"))))


@pytest.mark.parametrize("seed", range(30))
def test_every_write_comes_back_as_it_went(seed: int) -> None:
    print(f"seed {seed}")
    dice = random.Random(seed)
    fields = {f"f{index}": value for index, value in enumerate(dice.sample(VALUES, 12))}
    operators = [
        {"$increment": dice.choice([1, 0.5, INT_MIN])},
        {"$max": 1.0},
        {"$min": -3},
        {"$arrayUnion": dice.sample(VALUES[:14], 4)},
        {"$arrayRemove": [{"a": 1}]},
        {"$delete": True},
    ]
    update = {**fields, "`a.b`.c": 1, **{f"o{index}": value for index, value in enumerate(operators)}}
    data = canonical(check_document(dict(fields)))
    writes = [
        Write("set", "a/1", data),
        Write("create", "a/2/b/\u00e9", data),
        Write("update", "a/3", read_update(update), dice.random() < 0.5),
        Write("delete", "a/4", None),
    ]
    dice.shuffle(writes)
    payload = encode_writes(writes)
    back = there_and_back(payload)
    assert back.writes == writes
    assert encode_writes(back.writes) == payload


def test_an_entry_keeps_what_it_is() -> None:
    payload = encode_writes([Write("delete", "a/1", None)])
    own = there_and_back(payload)
    assert (own.upstream, own.node, own.epoch, own.number, own.dead) == ("primary", "me", "e1", 7, False)
    assert (own.priority, own.created_us, own.commit, own.attempts, own.error) == (5, 1_769_860_800_123_456, 9, 2, None)
    taken = there_and_back(payload, node="n", epoch="e", state=2, error="no")
    assert (taken.node, taken.epoch, taken.dead, taken.error) == ("n", "e", True, "no")


def test_the_sender_says_where_its_cursors_stand() -> None:
    rows = [("primary", 7, "b7", 3, 1), ("secondary", 0, "", 0, 0)]
    shown = {"node": "me", "epoch": "e1", "upstreams": cursors_json(rows), "created": "now"}
    assert read_sender(orjson.loads(orjson.dumps(shown))) == Sender("me", "e1", {"primary": 7, "secondary": 0})


@pytest.mark.parametrize(
    "sender",
    [
        None,
        {},
        {"node": "a", "epoch": "b"},
        {"node": "a/b", "epoch": "b", "upstreams": {}},
        {"node": "a", "epoch": "b.0", "upstreams": {}},
        {"node": "a", "epoch": 1, "upstreams": {}},
        {"node": "a", "epoch": "b", "upstreams": []},
        {"node": "a", "epoch": "b", "upstreams": {"primary": 7}},
        {"node": "a", "epoch": "b", "upstreams": {"primary": {"seq": -1}}},
    ],
)
def test_what_is_no_sender_is_refused(sender: Any) -> None:
    with pytest.raises(Problem) as caught:
        read_sender(sender)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("upstream", None),
        ("node", "a.b"),
        ("epoch", ""),
        ("number", 0),
        ("number", 2**63),
        ("number", True),
        ("number", 1.0),
        ("state", "done"),
        ("state", 0),
        ("priority", 10),
        ("created", "2026-01-31"),
        ("created", "yesterday"),
        ("created", 5),
        ("created", "2026-01-31T12:00:00.123456+01:00"),
        ("commit", "9"),
        ("attempts", -1),
        ("error", 5),
        ("writes", []),
        ("writes", None),
        ("writes", [{"set": {"path": "a", "data": {}}}]),
        ("writes", [{"set": {"path": "a/1", "data": {"$x": 1}}}]),
        ("writes", [{"update": {"path": "a/1", "data": {}}}]),
    ],
)
def test_what_is_no_entry_is_refused(member: str, value: Any) -> None:
    line = entry_line(row(encode_writes([Write("delete", "a/1", None)])), set(), "me", "e1")
    assert set(line) == set(MEMBERS)
    for wrong in ({**line, member: value}, {name: line[name] for name in line if name != member}, {**line, "x": 1}):
        with pytest.raises(Problem) as caught:
            read_entry(wrong)
        assert caught.value.status == 400
    with pytest.raises(Problem):
        read_entry([line])


def test_a_time_has_one_text() -> None:
    assert timestamp_us("1969-12-31T23:59:59.999999Z") == -1
    for text in ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000000", "x"):
        with pytest.raises(ValueError):  # noqa: PT011
            timestamp_us(text)
