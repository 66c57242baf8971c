"""What every upstream must do (deora/upstream/base.py says it in words): one suite for all of them.

The oracle of what writes do is `deora.documents.apply`, which made the view that clients saw.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

import orjson
import pytest

from deora.documents.apply import apply
from deora.documents.updates import read_update
from deora.documents.values import INT_MAX, INT_MIN, canonical
from deora.documents.writes import Write, encode_writes
from deora.errors import Problem
from deora.upstream.base import Applied, Cursor, CursorKey, Delivery, Moved, Outcome, Page, Refused, Upstream
from tests.contracts.conftest import Bench

KEY = CursorKey("box1", "epoch1", 0)


def set_(path: str, data: Any) -> Write:
    return Write("set", path, canonical(data))


def create(path: str, data: Any) -> Write:
    return Write("create", path, canonical(data))


def update(path: str, fields: dict[str, Any], *, upsert: bool = False) -> Write:
    return Write("update", path, read_update(fields), upsert)


def delete(path: str) -> Write:
    return Write("delete", path, None)


def entry(*writes: Write) -> bytes:
    return encode_writes(list(writes))


class Sender:
    """A lane reduced to its bones: it knows where its cursor should stand and sends one batch after the other."""

    def __init__(self, upstream: Upstream, key: CursorKey = KEY) -> None:
        self.upstream = upstream
        self.key = key
        self.seq = 0
        self.batch_id = ""

    def delivery(self, batch_id: str, *entries: bytes, applied: bytes = b"") -> Delivery:
        return Delivery(self.key, self.seq, self.batch_id, batch_id, applied, list(entries))

    async def send(self, batch_id: str, *entries: bytes, applied: bytes = b"") -> Outcome:
        """Sends a batch; where it lands the next one is sent behind it."""
        outcome = await self.upstream.apply(self.delivery(batch_id, *entries, applied=applied))
        if isinstance(outcome, Applied):
            self.seq, self.batch_id = self.seq + 1, batch_id
        return outcome


# -- the cursor


async def test_a_new_upstream_has_no_cursor(bench: Bench) -> None:
    assert await bench.make().read_cursor(KEY) is None


async def test_the_first_batch_makes_the_cursor(bench: Bench) -> None:
    upstream = bench.make()
    assert await Sender(upstream).send("b1", entry(set_("a/1", {"n": 1})), applied=b"\x01\x02") == Applied()
    assert await upstream.read_cursor(KEY) == Cursor(1, "b1", b"\x01\x02", None)
    assert await bench.all_documents() == {"a/1": b'{"n":1}'}


async def test_batches_follow_one_another(bench: Bench) -> None:
    sender = Sender(bench.make())
    for number in range(1, 6):
        assert await sender.send(f"b{number}", entry(set_("a/1", {"n": number}))) == Applied()
    assert await sender.upstream.read_cursor(KEY) == Cursor(5, "b5", b"")
    assert await bench.read_document("a/1") == b'{"n":5}'


@pytest.mark.parametrize(
    ("seq", "batch_id"),
    [(0, ""), (1, "b1"), (2, "other"), (2, ""), (3, "b2"), (1, "b2"), (2**40, "b2"), (0, "b2")],
)
async def test_a_batch_that_expects_another_cursor_is_moved(bench: Bench, seq: int, batch_id: str) -> None:
    sender = Sender(bench.make())
    await sender.send("b1", entry(set_("a/1", {"n": 1})))
    await sender.send("b2", entry(set_("a/1", {"n": 2})), applied=b"before")
    wrong = Delivery(KEY, seq, batch_id, "b3", b"after", [entry(set_("a/1", {"n": 3}), set_("a/2", {}))])
    assert await sender.upstream.apply(wrong) == Moved()
    assert await sender.upstream.read_cursor(KEY) == Cursor(2, "b2", b"before")
    assert await bench.all_documents() == {"a/1": b'{"n":2}'}
    assert await sender.send("b3", entry(delete("a/1"))) == Applied()


@pytest.mark.parametrize(("seq", "batch_id"), [(0, "b0"), (1, ""), (1, "b0")])
async def test_a_batch_that_expects_a_cursor_where_none_is_is_moved(bench: Bench, seq: int, batch_id: str) -> None:
    upstream = bench.make()
    assert await upstream.apply(Delivery(KEY, seq, batch_id, "b1", b"", [entry(set_("a/1", {}))])) == Moved()
    assert await upstream.read_cursor(KEY) is None
    assert await bench.all_documents() == {}


async def test_a_batch_that_is_sent_twice_takes_effect_once(bench: Bench) -> None:
    sender = Sender(bench.make())
    await sender.send("b1", entry(set_("a/1", {"n": 0})))
    twice = sender.delivery("b2", entry(update("a/1", {"n": {"$increment": 1}})))
    assert await sender.upstream.apply(twice) == Applied()
    assert await sender.upstream.apply(twice) == Moved()
    assert await bench.make().apply(twice) == Moved()
    assert await bench.read_document("a/1") == b'{"n":1}'


async def test_the_first_batch_too_takes_effect_once(bench: Bench) -> None:
    upstream = bench.make()
    first = Delivery(KEY, 0, "", "b1", b"", [entry(update("a/1", {"n": {"$increment": 1}}, upsert=True))])
    assert [await upstream.apply(first) for _ in range(3)] == [Applied(), Moved(), Moved()]
    assert await bench.read_document("a/1") == b'{"n":1}'


async def test_of_two_clients_at_once_one_lands(bench: Bench) -> None:
    copies = [bench.make() for _ in range(4)]
    increment = entry(update("a/1", {"n": {"$increment": 1}}, upsert=True))
    batches = [Delivery(KEY, 0, "", f"b{index}", b"", [increment]) for index in range(4)]
    outcomes = await asyncio.gather(*(copy.apply(batch) for copy, batch in zip(copies, batches, strict=True)))
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Applied", "Moved", "Moved", "Moved"]
    assert await bench.read_document("a/1") == b'{"n":1}'


async def test_a_fence_takes_the_seq_from_a_batch(bench: Bench) -> None:
    sender = Sender(bench.make())
    await sender.send("b1", entry(set_("a/1", {"n": 0})))
    late = sender.delivery("b2", entry(update("a/1", {"n": {"$increment": 1}})))
    assert await sender.send("fence:b2", applied=b"x") == Applied()
    assert await sender.upstream.apply(late) == Moved()
    assert await bench.read_document("a/1") == b'{"n":0}'
    assert await sender.upstream.read_cursor(KEY) == Cursor(2, "fence:b2", b"x")
    assert await sender.send("b3", entry(update("a/1", {"n": {"$increment": 1}}))) == Applied()


async def test_a_fence_may_be_the_first_thing_of_all(bench: Bench) -> None:
    sender = Sender(bench.make())
    late = sender.delivery("b1", entry(set_("a/1", {})))
    assert await sender.send("fence:b1") == Applied()
    assert await sender.upstream.apply(late) == Moved()
    assert await sender.upstream.read_cursor(KEY) == Cursor(1, "fence:b1", b"")
    assert await bench.all_documents() == {}


@pytest.mark.parametrize("batches", [0, 1, 3])
async def test_a_cursor_may_be_moved_past_seqs_that_it_never_had(bench: Bench, batches: int) -> None:
    """As after a restore: what another life of this upstream had taken is behind it then."""
    sender = Sender(bench.make())
    for number in range(1, batches + 1):
        await sender.send(f"b{number}", entry(set_("a/1", {"n": number})))
    late = sender.delivery("late", entry(set_("a/1", {"n": 99})))
    step = 42 - batches
    moved = Delivery(KEY, sender.seq, sender.batch_id, "restored", b"x", [], step=step)
    assert await sender.upstream.apply(moved) == Applied()
    assert await sender.upstream.apply(moved) == Moved()
    assert await sender.upstream.apply(late) == Moved()
    assert await sender.upstream.read_cursor(KEY) == Cursor(42, "restored", b"x")
    page = await sender.upstream.read_documents(KEY, ["a/1"])
    assert isinstance(page, Page)
    assert page.seq == 42
    sender.seq, sender.batch_id = 42, "restored"
    assert await sender.send("next", entry(set_("a/1", {"n": 100}))) == Applied()
    assert await bench.read_document("a/1") == b'{"n":100}'


async def test_a_fence_comes_too_late_for_a_batch_that_has_landed(bench: Bench) -> None:
    sender = Sender(bench.make())
    fence = sender.delivery("fence:b1")
    assert await sender.send("b1", entry(set_("a/1", {}))) == Applied()
    assert await sender.upstream.apply(fence) == Moved()
    assert await sender.upstream.read_cursor(KEY) == Cursor(1, "b1", b"")


@pytest.mark.parametrize("applied", [b"", b"\0", bytes(range(256)), b"\xff" * 64 * 1024], ids=len)
async def test_what_the_cursor_covers_comes_back_as_it_went(bench: Bench, applied: bytes) -> None:
    sender = Sender(bench.make())
    await sender.send("b1", entry(set_("a/1", {})), applied=applied)
    assert await sender.upstream.read_cursor(KEY) == Cursor(1, "b1", applied)
    await sender.send("b2", entry(set_("a/1", {})), applied=applied[:1])
    assert await sender.upstream.read_cursor(KEY) == Cursor(2, "b2", applied[:1])


async def test_a_cursor_that_is_taken_over_lets_nothing_through(bench: Bench) -> None:
    sender = Sender(bench.make())
    await sender.send("b1", entry(set_("a/1", {})), applied=b"x")
    await bench.make().take_over(KEY, "box2.epoch7")
    assert await sender.send("b2", entry(set_("a/2", {}))) == Moved()
    assert await sender.send("fence:b2") == Moved()
    assert await sender.upstream.read_cursor(KEY) == Cursor(1, "b1", b"x", "box2.epoch7")
    assert await bench.all_documents() == {"a/1": b"{}"}


async def test_other_boxes_lives_and_lanes_have_cursors_of_their_own(bench: Bench) -> None:
    upstream = bench.make()
    keys = [KEY, CursorKey("box2", "epoch1", 0), CursorKey("box1", "epoch2", 0), CursorKey("box1", "epoch1", 1)]
    senders = [Sender(upstream, key) for key in keys]
    increment = entry(update("a/1", {"n": {"$increment": 1}}, upsert=True))
    for batch_id in ("b1", "b2", "b3"):
        for index, sender in enumerate(senders):
            assert await sender.send(batch_id, increment, applied=batch_id.encode() * index) == Applied()
            for other in keys[index + 1 :]:
                cursor = await upstream.read_cursor(other)
                assert cursor is None or (isinstance(cursor, Cursor) and cursor.batch_id < batch_id)
    for index, sender in enumerate(senders):
        assert await upstream.read_cursor(sender.key) == Cursor(3, "b3", b"b3" * index)
    assert await bench.read_document("a/1") == b'{"n":12}'
    await upstream.take_over(keys[1], "box3")
    assert await senders[0].send("b4", increment) == Applied()
    assert await senders[1].send("b4", increment) == Moved()
    assert await senders[2].send("b4", increment) == Applied()


async def test_all_of_it_is_there_for_the_next_client(bench: Bench) -> None:
    sender = Sender(bench.make())
    await sender.send("b1", entry(set_("a/1", {"n": 1}), set_("a/2", {})), applied=b"x")
    await bench.close()
    sender.upstream = bench.make()
    assert await sender.upstream.read_cursor(KEY) == Cursor(1, "b1", b"x")
    assert await sender.send("b2", entry(update("a/1", {"n": {"$increment": 1}}))) == Applied()
    assert await bench.all_documents() == {"a/1": b'{"n":2}', "a/2": b"{}"}


# -- all or nothing


async def test_the_writes_of_a_batch_are_applied_in_order(bench: Bench) -> None:
    sender = Sender(bench.make())
    outcome = await sender.send(
        "b1",
        entry(create("a/1", {"n": 1}), update("a/1", {"n": {"$increment": 1}})),
        entry(update("a/1", {"n": {"$increment": 10}})),
        entry(set_("a/2", {"n": 1}), delete("a/2"), create("a/2", {"n": 2})),
        entry(delete("a/1")),
        entry(update("a/1", {"n": {"$increment": 100}}, upsert=True)),
        entry(set_("a/3", {}), delete("a/3")),
    )
    assert outcome == Applied()
    assert await bench.all_documents() == {"a/1": b'{"n":100}', "a/2": b'{"n":2}'}


def refusal(bench: Bench, outcome: Outcome, index: int, *words: str) -> None:
    """Checks that this is a refusal of the payload `index`, in words that speak of it."""
    assert isinstance(outcome, Refused)
    assert outcome.index == (index if bench.names_index else None)
    for word in words:
        assert word in outcome.message


async def test_a_create_of_what_exists_is_refused(bench: Bench) -> None:
    sender = Sender(bench.make())
    await sender.send("b1", entry(set_("a/1", {"n": 1})))
    refusal(bench, await sender.send("b2", entry(create("a/1", {"n": 2}))), 0, "a/1", "exists")
    assert await bench.read_document("a/1") == b'{"n":1}'


async def test_an_update_of_what_does_not_exist_is_refused(bench: Bench) -> None:
    sender = Sender(bench.make())
    refusal(bench, await sender.send("b1", entry(update("a/1", {"n": 1}))), 0, "a/1")
    assert await sender.upstream.read_cursor(KEY) is None
    assert await bench.all_documents() == {}


async def test_an_update_of_what_is_deleted_before_it_is_refused(bench: Bench) -> None:
    sender = Sender(bench.make())
    await sender.send("b1", entry(set_("a/1", {"n": 1})))
    refusal(bench, await sender.send("b2", entry(delete("a/1")), entry(update("a/1", {"n": 2}))), 1, "a/1")
    assert await bench.read_document("a/1") == b'{"n":1}'


@pytest.mark.parametrize("position", [0, 3, 6])
async def test_a_refusal_leaves_nothing_of_its_batch(bench: Bench, position: int) -> None:
    sender = Sender(bench.make())
    await sender.send("b1", entry(set_("a/1", {"n": 1}), set_("a/2", {"n": 1})), applied=b"x")
    before = await bench.all_documents()
    entries = [
        entry(update("a/1", {"n": {"$increment": 1}})),
        entry(delete("a/2")),
        entry(set_("a/3", {})),
        entry(update("a/4", {"n": 1}, upsert=True)),
        entry(create("a/5", {})),
        entry(set_("b/1", {}), delete("a/1")),
    ]
    entries.insert(position, entry(set_("c/1", {}), update("c/missing", {"n": 1}), set_("c/2", {})))
    refusal(bench, await sender.send("b2", *entries, applied=b"y"), position, "c/missing")
    assert await bench.all_documents() == before
    assert await sender.upstream.read_cursor(KEY) == Cursor(1, "b1", b"x")
    del entries[position]
    assert await sender.send("b3", *entries, applied=b"z") == Applied()
    assert sorted(await bench.all_documents()) == ["a/3", "a/4", "a/5", "b/1"]


@pytest.mark.parametrize("position", [0, 1, 2])
async def test_an_entry_is_applied_whole_or_not_at_all(bench: Bench, position: int) -> None:
    sender = Sender(bench.make())
    writes = [set_("a/1", {}), set_("a/2", {})]
    writes.insert(position, update("a/missing", {"n": 1}))
    refusal(bench, await sender.send("b1", entry(*writes)), 0, "a/missing")
    assert await sender.upstream.read_cursor(KEY) is None
    assert await bench.all_documents() == {}


async def test_a_refused_batch_can_be_fenced(bench: Bench) -> None:
    sender = Sender(bench.make())
    refusal(bench, await sender.send("b1", entry(update("a/1", {"n": 1}))), 0)
    assert await sender.send("fence:b1") == Applied()
    assert await sender.send("b2", entry(set_("a/1", {}))) == Applied()
    assert await sender.upstream.read_cursor(KEY) == Cursor(2, "b2", b"")


async def test_deleting_what_is_not_there_is_no_fault(bench: Bench) -> None:
    sender = Sender(bench.make())
    assert await sender.send("b1", entry(delete("a/1"))) == Applied()
    assert await sender.send("b2", entry(delete("a/1"), delete("a/1"))) == Applied()
    assert await bench.all_documents() == {}


async def test_a_batch_of_500_entries(bench: Bench) -> None:
    sender = Sender(bench.make())
    entries = [entry(update(f"a/{number % 50}", {"n": {"$increment": number}}, upsert=True)) for number in range(500)]
    assert await sender.send("b1", *entries) == Applied()
    documents = await bench.all_documents()
    assert len(documents) == 50
    assert sum(orjson.loads(data)["n"] for data in documents.values()) == sum(range(500))


# -- what writes do


NOW = {"$timestamp": "2026-01-31T12:00:00.123456Z"}
TAGGED = {
    "at": NOW,
    "bytes": {"$bytes": "AAECAw=="},
    "place": {"$geopoint": {"latitude": 48.137, "longitude": 11.575}},
    "guest": {"$reference": "guests/g1"},
}
EVERYTHING = {
    **TAGGED,
    "null": None,
    "no": False,
    "int": 7,
    "double": 7.0,
    "least": INT_MIN,
    "most": INT_MAX,
    "tiny": 5e-324,
    "huge": 1.7976931348623157e308,
    "text": 'Käse\u2028\n"\\\U0001f9c0',
    "list": [1, 1.0, "1", {"a": []}, {}],
    "deep": {"a": {"b": {"c": {"d": 1}}}},
    "a.b": 1,
    "a`b\\": 1,
    "ü": 1,
}


@pytest.mark.parametrize("op", ["set", "create"])
async def test_every_kind_of_value_comes_back_as_it_went(bench: Bench, op: str) -> None:
    sender = Sender(bench.make())
    assert await sender.send("b1", entry(Write(op, "a/1", canonical(EVERYTHING)))) == Applied()
    assert await bench.read_document("a/1") == canonical(EVERYTHING)


async def test_an_array_in_an_array_comes_back_where_upstream_takes_it(bench: Bench) -> None:
    sender = Sender(bench.make())
    nested = {"list": [[2, [3]], []]}
    if bench.nests_arrays:
        assert await sender.send("b1", entry(set_("a/1", nested))) == Applied()
        assert await bench.read_document("a/1") == canonical(nested)
    else:
        assert isinstance(await sender.send("b1", entry(set_("a/1", nested))), Refused)
        assert await bench.all_documents() == {}


UPDATES: list[tuple[Any, dict[str, Any]]] = [
    # values
    ({"a": 1, "b": 2}, {"a": 3}),
    ({"a": 1}, {"a": 1.0}),
    ({"a": {"b": 1, "c": 2}}, {"a.b": EVERYTHING}),
    ({"a": {"b": 1}}, {"a": {"c": 2}}),
    ({"a": 1}, {"a.b.c": None}),
    ({"a": [1]}, {"a.b": TAGGED}),
    ({"a": TAGGED["place"]}, {"a.latitude": 5}),
    ({"a.b": 1}, {"`a.b`": 2, "a.b": 3}),
    ({"ü ß": {"`": 1}}, {"`ü ß`.`\\``": 2}),
    # delete
    ({"a": 1, "b": 2}, {"a": {"$delete": True}}),
    ({"a": {"b": 1}}, {"a.b": {"$delete": True}, "c.d": {"$delete": True}}),
    ({"a": 1}, {"a.b": {"$delete": True}}),
    # increment
    ({"n": 1}, {"n": {"$increment": 2}}),
    ({"n": 1}, {"n": {"$increment": -2.5}}),
    ({"n": 1.5}, {"n": {"$increment": 2}}),
    ({"n": INT_MAX - 1}, {"n": {"$increment": 5}}),
    ({"n": INT_MIN + 1}, {"n": {"$increment": -5}}),
    ({"n": "text"}, {"n": {"$increment": 2}}),
    ({}, {"n": {"$increment": 2.0}, "a.b.n": {"$increment": 1}}),
    ({"n": 0.1}, {"n": {"$increment": 0.2}}),
    # max, min
    ({"n": 3}, {"n": {"$max": 3.0}}),
    ({"n": 3}, {"n": {"$max": 4.5}}),
    ({"n": 3.0}, {"n": {"$min": 3}}),
    ({"n": 3}, {"n": {"$min": -1}}),
    ({"n": None}, {"n": {"$min": -1}}),
    ({}, {"n": {"$max": -1}}),
    # arrayUnion, arrayRemove
    ({"l": [1, "a"]}, {"l": {"$arrayUnion": ["b", 1.0, "b", True]}}),
    ({"l": "no list"}, {"l": {"$arrayUnion": [{"a": [1]}, {"a": 1}, NOW]}}),
    ({}, {"a.l": {"$arrayUnion": []}}),
    ({"l": [1, 1.0, "1", True, 1, {"a": 1}]}, {"l": {"$arrayRemove": [1, {"a": 1.0}]}}),
    ({"l": [NOW, None]}, {"l": {"$arrayRemove": [NOW, None]}}),
    ({"l": 5}, {"l": {"$arrayRemove": [5]}}),
    # several
    (EVERYTHING, {"int": {"$increment": 1}, "list": {"$arrayUnion": [9]}, "deep.a.b": 1, "no": {"$delete": True}}),
]


@pytest.mark.parametrize(("before", "fields"), UPDATES, ids=lambda value: canonical(value).decode()[:40])
async def test_an_update_does_what_it_did_to_the_view(bench: Bench, before: Any, fields: dict[str, Any]) -> None:
    sender = Sender(bench.make())
    write = update("a/1", fields)
    await sender.send("b1", entry(set_("a/1", before)))
    assert await sender.send("b2", entry(write)) == Applied()
    assert await bench.read_document("a/1") == apply(canonical(before), write)


@pytest.mark.parametrize(
    "fields", [fields for _, fields in UPDATES[::3]], ids=lambda value: canonical(value).decode()[:40]
)
async def test_an_upsert_creates_what_is_missing(bench: Bench, fields: dict[str, Any]) -> None:
    sender = Sender(bench.make())
    write = update("a/1", fields, upsert=True)
    assert await sender.send("b1", entry(write)) == Applied()
    assert await bench.read_document("a/1") == apply(None, write)


async def test_an_operator_whose_result_is_no_value_is_refused(bench: Bench) -> None:
    sender = Sender(bench.make())
    await sender.send("b1", entry(set_("a/1", {"n": 1.7976931348623157e308})))
    outcome = await sender.send("b2", entry(set_("a/2", {})), entry(update("a/1", {"n": {"$increment": 1e308}})))
    if not bench.refuses_infinity:
        assert outcome == Applied()
        assert await bench.read_document("a/1") == b'{"n":null}'
        return
    refusal(bench, outcome, 1)
    assert sorted(await bench.all_documents()) == ["a/1"]


async def test_the_largest_document(bench: Bench) -> None:
    sender = Sender(bench.make())
    filler = "x" * (bench.largest_bytes - len(b'{"n":1,"t":""}'))
    largest = {"n": 1, "t": filler}
    assert len(canonical(largest)) == bench.largest_bytes
    assert await sender.send("b1", entry(set_("a/1", largest), set_("a/2", largest))) == Applied()
    assert await sender.send("b2", entry(update("a/1", {"n": {"$increment": 1}}))) == Applied()
    assert await bench.all_documents() == {"a/1": canonical({**largest, "n": 2}), "a/2": canonical(largest)}
    outcome = await sender.send("b3", entry(update("a/1", {"u": "x" * 100})))
    assert isinstance(outcome, Refused)
    assert "1048" in outcome.message
    assert (await bench.all_documents())["a/1"] == canonical({**largest, "n": 2})


@pytest.mark.parametrize(
    "path",
    [
        "orders/o1/items/i1",
        "Küche/Tisch ä",
        "tables/\U0001f37d\ufe0f",
        "t/" + "ü" * 750,
        "a/%2F%00 '\"`;--",
        "a/e\u0301",
        "a/\u00e9",
        "A/1",
        "a/ ",
        "a/\u202e1",
    ],
    ids=ascii,
)
async def test_a_path_may_hold_whatever_the_door_lets_in(bench: Bench, path: str) -> None:
    sender = Sender(bench.make())
    neighbours = {"a/e": b"{}", "a/1": b"{}", "k/1": b"{}"}
    await sender.send("b1", *(entry(set_(neighbour, {})) for neighbour in neighbours))
    assert await sender.send("b2", entry(create(path, {"n": 1}))) == Applied()
    assert await sender.send("b3", entry(update(path, {"n": {"$increment": 1}}))) == Applied()
    assert await bench.all_documents() == {**neighbours, path: b'{"n":2}'}
    assert await sender.send("b4", entry(delete(path))) == Applied()
    assert await bench.all_documents() == neighbours


def random_write(dice: random.Random) -> Write:
    """Some write to one of a few documents."""
    path = f"c/{dice.randrange(8)}"
    fields: list[dict[str, Any]] = [
        {"n": {"$increment": dice.choice([1, -3, 0.5])}},
        {"n": {"$max": dice.randrange(9)}, "a.b": dice.random()},
        {"n": {"$min": dice.randrange(9)}, "a": {"$delete": True}},
        {"l": {"$arrayUnion": [dice.randrange(4), "x"]}},
        {"l": {"$arrayRemove": [dice.randrange(4)]}, "a.c": {"$increment": 1}},
    ]
    writes = [
        set_(path, {"n": dice.randrange(9)}),
        create(path, {"l": [dice.randrange(9)]}),
        update(path, dice.choice(fields)),
        update(path, dice.choice(fields), upsert=True),
        delete(path),
    ]
    return dice.choice(writes)


@pytest.mark.parametrize("seed", range(4))
async def test_any_sequence_of_batches_ends_where_the_oracle_does(bench: Bench, seed: int) -> None:
    dice = random.Random(seed)
    sender = Sender(bench.make())
    documents: dict[str, bytes] = {}
    for number in range(60):
        entries = [[random_write(dice) for _ in range(dice.randrange(1, 4))] for _ in range(dice.randrange(1, 6))]
        after: dict[str, bytes | None] = dict(documents)
        refused = None
        for index, writes in enumerate(entries):
            try:
                for write in writes:
                    after[write.path] = apply(after.get(write.path), write)
            except Problem:
                refused = index
                break
        outcome = await sender.send(f"b{number}", *(entry(*writes) for writes in entries))
        if refused is not None:
            refusal(bench, outcome, refused)
        else:
            assert outcome == Applied()
            documents = {path: data for path, data in after.items() if data is not None}
        assert await bench.all_documents() == documents, f"seed {seed}, batch {number}"
    assert sender.seq > 5
