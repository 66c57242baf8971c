"""Hypothesis strategies for documents and updates that the door lets in."""

from __future__ import annotations

import base64
from typing import Any

from hypothesis import strategies as st

from deora.documents.updates import read_update
from deora.documents.values import INT_MAX, INT_MIN, canonical, timestamp_text
from deora.documents.writes import Write

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8).filter(
    lambda name: not name.startswith(("$", "__"))
)
NUMBERS = st.integers(INT_MIN, INT_MAX) | st.floats(allow_nan=False, allow_infinity=False)
TAGGED = st.one_of(
    st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999).map(lambda us: {"$timestamp": timestamp_text(us)}),
    st.binary(max_size=8).map(lambda content: {"$bytes": base64.b64encode(content).decode()}),
    st.builds(
        lambda latitude, longitude: {"$geopoint": {"latitude": latitude, "longitude": longitude}},
        st.floats(-90, 90),
        st.floats(-180, 180),
    ),
    st.sampled_from(["users/u1", "orders/o1/items/ä b"]).map(lambda path: {"$reference": path}),
)
LEAVES = st.none() | st.booleans() | NUMBERS | TEXTS | TAGGED
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.dictionaries(NAMES, inner, max_size=3)
        | st.lists(inner.filter(lambda item: not isinstance(item, list)), max_size=3)
    ),
    max_leaves=8,
)
DOCUMENTS = st.dictionaries(NAMES, VALUES, max_size=4)
OPERATORS = st.one_of(
    NUMBERS.map(lambda number: {"$increment": number}),
    NUMBERS.map(lambda number: {"$max": number}),
    NUMBERS.map(lambda number: {"$min": number}),
    st.lists(LEAVES, max_size=3).map(lambda items: {"$arrayUnion": items}),
    st.lists(LEAVES, max_size=3).map(lambda items: {"$arrayRemove": items}),
    st.just({"$delete": True}),
)


def _quoted(name: str) -> str:
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


UPDATES = st.dictionaries(
    st.lists(NAMES, min_size=1, max_size=2).map(lambda names: ".".join(map(_quoted, names))),
    VALUES | OPERATORS,
    min_size=1,
    max_size=3,
).filter(lambda fields: _is_free_of_overlap(fields))
PATHS = st.sampled_from(["a/1", "a/2", "orders/o 1/items/ä"])


def _is_free_of_overlap(fields: dict[str, Any]) -> bool:
    names = sorted(fields)
    return not any(longer.startswith(f"{shorter}.") for shorter in names for longer in names)


WRITES = st.one_of(
    st.builds(lambda path, data: Write("set", path, canonical(data)), PATHS, DOCUMENTS),
    st.builds(lambda path, data: Write("create", path, canonical(data)), PATHS, DOCUMENTS),
    st.builds(
        lambda path, data, upsert: Write("update", path, read_update(data), upsert), PATHS, UPDATES, st.booleans()
    ),
    PATHS.map(lambda path: Write("delete", path, None)),
)
