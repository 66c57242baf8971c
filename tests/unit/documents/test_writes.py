"""Writes: read from requests, packed and unpacked."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import msgpack
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deora.documents.values import MAX_DOCUMENT_BYTES
from deora.documents.writes import (
    MAX_WRITES,
    Write,
    decode_writes,
    encode_writes,
    parse_commit,
    parse_create,
    parse_delete,
    parse_set,
    parse_update,
    resolve,
)
from deora.errors import DeoraError, Problem, StoreError

some_writes = st.builds(
    lambda op, path, data, upsert, if_version, if_absent: Write(
        op,
        path,
        None if op == "delete" else data,
        upsert and op == "update",
        if_version,
        if_absent and op == "create",
    ),
    st.sampled_from(["set", "create", "update", "delete"]),
    st.text(max_size=9),
    st.binary(max_size=9),
    st.booleans(),
    st.none() | st.text(min_size=1, max_size=9),
    st.booleans(),
)


@given(some_writes)
@settings(deadline=None)
def test_a_frame_keeps_all_of_a_write(write: Write) -> None:
    assert Write.from_wire(msgpack.unpackb(msgpack.packb(write.to_wire()))) == write


@given(st.lists(some_writes, min_size=1, max_size=5))
@settings(deadline=None)
def test_the_outbox_keeps_all_but_the_preconditions(writes: list[Write]) -> None:
    assert decode_writes(encode_writes(writes)) == [
        replace(write, if_version=None, if_absent=False) for write in writes
    ]


def test_the_packed_form_is_compact() -> None:
    assert Write("set", "a/b", b"{}").to_wire() == [0, "a/b", b"{}"]
    assert Write("delete", "a/b", None).to_wire() == [3, "a/b"]
    assert Write("update", "a/b", b"[]", upsert=True, if_version="v").to_wire() == [6, "a/b", b"[]", "v"]
    assert Write("create", "a/b", b"{}", if_absent=True).to_wire() == [9, "a/b", b"{}"]
    assert len(encode_writes([Write("set", "a/b", b"{}")])) == 11


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x01", b"x", b"\x91\x01", b"\x91\x90", b"\x91\x93", b"\x91\x92\x00"])
def test_damaged_bytes_are_a_clear_error(data: bytes) -> None:
    with pytest.raises(StoreError, match="cannot be read") as caught:
        decode_writes(data)
    assert isinstance(caught.value, DeoraError)


def test_a_set_and_a_create_store_the_canonical_document() -> None:
    assert parse_set("orders/o1", b'{"b": 1, "a": 2}') == Write("set", "orders/o1", b'{"a":2,"b":1}')
    assert parse_create("orders/o1", b"{}") == Write("create", "orders/o1", b"{}")
    assert parse_set("orders/o1", b"{}", if_version="v1") == Write("set", "orders/o1", b"{}", if_version="v1")
    assert parse_set("orders/o1", b"{}", if_absent=True) == Write("create", "orders/o1", b"{}", if_absent=True)


def test_an_update_and_a_delete() -> None:
    data = b'[[["a","b"],"increment",1]]'
    assert parse_update("orders/o1", b'{"a.b": {"$increment": 1}}', False) == Write("update", "orders/o1", data)
    assert parse_update("orders/o1", b'{"a.b": {"$increment": 1}}', True, if_version="v1") == Write(
        "update", "orders/o1", data, upsert=True, if_version="v1"
    )
    assert parse_delete("orders/o1") == Write("delete", "orders/o1", None)
    assert parse_delete("orders/o1", if_version="v1") == Write("delete", "orders/o1", None, if_version="v1")


def test_each_parser_checks_its_path_and_its_body() -> None:
    for parse in (parse_set, parse_create, lambda path, body: parse_update(path, body, False)):
        with pytest.raises(Problem) as caught:
            parse("orders", b'{"a":1}')
        assert caught.value.kind == "invalid-path"
        with pytest.raises(Problem) as caught:
            parse("orders/o1", b'{"a":NaN}')
        assert caught.value.kind == "invalid-json"
        with pytest.raises(Problem) as caught:
            parse("orders/o1", b'{"a":"\\u0000"}')
        assert caught.value.kind == "invalid-document"
    with pytest.raises(Problem) as caught:
        parse_delete("orders")
    assert caught.value.kind == "invalid-path"
    with pytest.raises(Problem) as caught:
        parse_set("orders/o1", orjson.dumps({"a": "x" * MAX_DOCUMENT_BYTES}))
    assert caught.value.kind == "too-large"


def test_a_commit_keeps_the_order_of_its_writes() -> None:
    body = b"""{"writes": [
        {"set": {"path": "a/1", "data": {"y": 1, "x": {"$geopoint": {"latitude": 1, "longitude": 2}}}}},
        {"create": {"path": "a/1", "data": {}}},
        {"update": {"path": "a/1", "data": {"x": {"$increment": 1}}}, "ifVersion": "v1"},
        {"update": {"path": "a/2", "data": {"x": 1}, "upsert": true}},
        {"ifVersion": "v2", "delete": {"path": "a/1"}}
    ]}"""
    assert parse_commit(body) == [
        Write("set", "a/1", b'{"x":{"$geopoint":{"latitude":1.0,"longitude":2.0}},"y":1}'),
        Write("create", "a/1", b"{}"),
        Write("update", "a/1", b'[[["x"],"increment",1]]', if_version="v1"),
        Write("update", "a/2", b'[[["x"],"value",1]]', upsert=True),
        Write("delete", "a/1", None, if_version="v2"),
    ]


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ([], "a commit is an object"),
        ({}, "a commit is an object"),
        ({"writes": {}}, "a commit is an object"),
        ({"writes": [], "atomic": True}, "found the members 'writes, atomic'"),
        ({"writes": []}, "a commit has 0 writes; 1 to 500 are allowed"),
        ({"writes": [{"delete": {"path": "a/b"}}] * (MAX_WRITES + 1)}, "a commit has 501 writes"),
    ],
)
def test_commits_of_the_wrong_shape_are_refused(request_: Any, said: str) -> None:
    with pytest.raises(Problem, match=re.escape(said)) as caught:
        parse_commit(orjson.dumps(request_))
    assert caught.value.kind == "invalid-commit"


@pytest.mark.parametrize(
    ("write", "kind", "said"),
    [
        ("delete", "invalid-commit", "a write is an object; found a string"),
        ({}, "invalid-commit", "exactly one of set, create, update, delete; found 0"),
        ({"merge": {}}, "invalid-commit", "found 0"),
        ({"set": {}, "delete": {}}, "invalid-commit", "found 2"),
        (
            {"delete": {"path": "a/b"}, "if": 1},
            "invalid-commit",
            "beside delete only 'ifVersion' may stand; found 'if'",
        ),
        ({"delete": "a/b"}, "invalid-commit", "delete is an object; found a string"),
        ({"delete": {}}, "invalid-commit", "delete lacks its member 'path'"),
        ({"set": {"path": "a/b"}}, "invalid-commit", "set lacks its member 'data'"),
        ({"delete": {"path": "a/b", "data": {}}}, "invalid-commit", "delete has no member 'data'; allowed are path"),
        ({"set": {"path": "a/b", "data": {}, "upsert": True}}, "invalid-commit", "set has no member 'upsert'"),
        ({"set": {"path": "a/b", "data": {}, "ifVersion": "v"}}, "invalid-commit", "set has no member 'ifVersion'"),
        ({"set": {"path": 1, "data": {}}}, "invalid-commit", "the path of set is a string; found an integer"),
        ({"set": {"path": "a", "data": {}}}, "invalid-path", "the document path 'a' has 1 segments"),
        ({"set": {"path": "a/b", "data": []}}, "invalid-document", "a document is a JSON object; found an array"),
        ({"create": {"path": "a/b", "data": {"x": {"$y": 1}}}}, "invalid-document", "in x: the field name '$y'"),
        ({"set": {"path": "a/b", "data": {"x": "y" * MAX_DOCUMENT_BYTES}}}, "too-large", "at most 1048576"),
        ({"update": {"path": "a/b", "data": {}}}, "invalid-update", "at least one field"),
        ({"update": {"path": "a/b", "data": {"x": {"$y": 1}}}}, "invalid-update", "in x: '$y' is no operator"),
        ({"update": {"path": "a/b", "data": {"x": 1}, "upsert": 1}}, "invalid-commit", "'upsert' is true or false"),
        ({"delete": {"path": "a/b"}, "ifVersion": 1}, "invalid-commit", "a string; found an integer"),
        ({"delete": {"path": "a/b"}, "ifVersion": None}, "invalid-commit", "a string; found null"),
        ({"delete": {"path": "a/b"}, "ifVersion": ""}, "invalid-commit", "a string; found an empty one"),
    ],
)
def test_a_faulty_write_of_a_commit_is_named(write: Any, kind: str, said: str) -> None:
    with pytest.raises(Problem, match=re.escape(said)) as caught:
        parse_commit(orjson.dumps({"writes": [{"delete": {"path": "a/b"}}, write]}))
    assert caught.value.kind == kind
    assert caught.value.detail.startswith("writes[1]: ")


def test_a_misplaced_precondition_gets_a_hint() -> None:
    with pytest.raises(Problem) as caught:
        parse_commit(b'{"writes":[{"delete":{"path":"a/b","ifVersion":"v"}}]}')
    assert caught.value.hint == "'ifVersion' stands beside the operation, not in it"


def test_a_commit_is_strict_json() -> None:
    with pytest.raises(Problem) as caught:
        parse_commit(b'{"writes":[{"set":{"path":"a/b","data":{"x":1,"x":2}}}]}')
    assert caught.value.kind == "invalid-json"


def test_resolving_replaces_server_timestamps() -> None:
    write = parse_update("a/b", b'{"t": {"$serverTimestamp": true}, "n": {"$increment": 1}}', True, if_version="v")
    resolved = resolve(write, 1_769_860_800_123_456)
    assert resolved == replace(
        write, data=b'[[["n"],"increment",1],[["t"],"value",{"$timestamp":"2026-01-31T12:00:00.123456Z"}]]'
    )


def test_what_has_no_server_timestamp_is_left_alone() -> None:
    for write in (
        parse_delete("a/b"),
        parse_set("a/b", b'{"serverTimestamp":"serverTimestamp"}'),
        parse_update("a/b", b'{"n":{"$increment":1}}', False),
    ):
        assert resolve(write, 0) is write
    tricky = parse_update("a/b", b'{"serverTimestamp":"serverTimestamp"}', False)
    assert resolve(tricky, 0) == tricky
