"""Numbers on their way to jsonb and back."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deora.documents.values import INT_MAX, INT_MIN, canonical
from deora.errors import DeoraError
from deora.upstream.postgres.jsonb import from_jsonb, load, to_jsonb

numbers = st.integers(INT_MIN, INT_MAX) | st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(
    ["1e5", '"1e5"', "\\1e5", "a\\\\", '\\"3e4']
)
values = st.recursive(numbers | texts | st.none() | st.booleans(), lambda v: st.lists(v) | st.dictionaries(texts, v))


@given(values)
def test_what_goes_there_is_the_same_value_without_exponents(value: Any) -> None:
    text = to_jsonb(canonical({"v": value}))
    assert canonical(orjson.loads(text)) == canonical({"v": value})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1e16, b"10000000000000000.0"),
        (-1.5e300, b"-15" + b"0" * 299 + b".0"),
        (1e-7, b"0.0000001"),
        (1.0, b"1.0"),
        (10**16, b"10000000000000000"),
        ("1e16", b'"1e16"'),
    ],
)
def test_a_double_keeps_a_point_that_an_integer_never_has(value: Any, text: bytes) -> None:
    assert to_jsonb(canonical(value)) == text


def test_what_jsonb_gives_back_becomes_canonical() -> None:
    assert from_jsonb('{"b": 1.0, "a": [1, 10000000000000000.0]}') == canonical({"a": [1, 1e16], "b": 1.0})


@pytest.mark.parametrize("text", ["[1]", "null", '"x"', "5"])
def test_what_is_no_object_is_no_document(text: str) -> None:
    with pytest.raises(DeoraError, match="no JSON object"):
        from_jsonb(text)


def test_what_cannot_be_kept_says_so() -> None:
    with pytest.raises(DeoraError, match="no JSON that can be kept"):
        load("{")
