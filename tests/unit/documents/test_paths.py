"""Document and collection paths, and generated ids."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deora.documents.paths import (
    MAX_PATH_BYTES,
    MAX_SEGMENT_BYTES,
    check_collection_path,
    check_document_path,
    generate_id,
    is_reserved,
    split,
)
from deora.errors import Problem

LONGEST = "é" * (MAX_SEGMENT_BYTES // 2)


@pytest.mark.parametrize(
    "path",
    [
        "orders/o1",
        "orders/o1/items/i1",
        "a/b/c/d/e/f/g/h",
        "orders/-N_x.y~z",
        "orders/_x",
        "orders/__x",
        "orders/x__",
        "orders/___",
        "orders/...",
        "orders/.x",
        "Tische/Straße 7 außen",
        "orders/🍕",
        "orders/a b\\c\"d'e`f$g",
        f"orders/{LONGEST}",
        f"orders/{'x' * MAX_SEGMENT_BYTES}",
    ],
)
def test_document_paths_that_are_fine(path: str) -> None:
    assert check_document_path(path) is path


@pytest.mark.parametrize("path", ["orders", "orders/o1/items", "a/b/c/d/e", LONGEST, "...", "é/b/c"])
def test_collection_paths_that_are_fine(path: str) -> None:
    assert check_collection_path(path) is path


@pytest.mark.parametrize(
    ("segment", "said"),
    [
        ("", "empty segment"),
        (".", "reserved segment '.'"),
        ("..", "reserved segment '..'"),
        ("____", "reserved segment"),
        ("__x__", "reserved segment"),
        ("__é\n__", "control character"),
        ("a\0b", "control character"),
        ("a\nb", "control character"),
        ("a\x7fb", "control character"),
        ("a\x80b", "control character"),
        ("a\x9fb", "control character"),
        ("a\ud800b", "lone surrogate"),
        ("x" * (MAX_SEGMENT_BYTES + 1), f"segment of {MAX_SEGMENT_BYTES + 1} bytes"),
        (LONGEST + "x", f"segment of {MAX_SEGMENT_BYTES + 1} bytes"),
    ],
)
@pytest.mark.parametrize("check", [check_document_path, check_collection_path])
def test_bad_segments_are_refused_wherever_they_stand(check: Callable[[str], str], segment: str, said: str) -> None:
    others = ["orders", "o1", "items", "i1"] if check is check_document_path else ["orders", "o1", "items"]
    for position in range(len(others)):
        path = "/".join([*others[:position], segment, *others[position + 1 :]])
        with pytest.raises(Problem, match=re.escape(said)) as caught:
            check(path)
        assert caught.value.kind == "invalid-path"


@pytest.mark.parametrize("path", ["orders", "a/b/c", "é", "é/b/c"])
def test_an_odd_number_of_segments_is_no_document(path: str) -> None:
    with pytest.raises(Problem, match="even number") as caught:
        check_document_path(path)
    assert caught.value.kind == "invalid-path"


@pytest.mark.parametrize("path", ["orders/o1", "a/b/c/d", "é/b"])
def test_an_even_number_of_segments_is_no_collection(path: str) -> None:
    with pytest.raises(Problem, match="odd number") as caught:
        check_collection_path(path)
    assert caught.value.kind == "invalid-path"


@pytest.mark.parametrize("path", ["", "/", "a/", "/a", "a//b", "//"])
def test_slashes_out_of_place_are_refused(path: str) -> None:
    for check in (check_document_path, check_collection_path):
        with pytest.raises(Problem, match="empty segment"):
            check(path)


def test_the_whole_path_has_a_limit() -> None:
    segment = "x" * 1023
    longest = "/".join([segment] * 6)
    assert len(longest) == MAX_PATH_BYTES - 1
    assert check_document_path(longest) == longest
    with pytest.raises(Problem, match=f"{MAX_PATH_BYTES + 1} bytes; at most {MAX_PATH_BYTES}"):
        check_document_path(longest + "xx")


def test_a_refusal_does_not_carry_a_huge_path() -> None:
    with pytest.raises(Problem) as caught:
        check_document_path("x" * 6000)
    assert len(caught.value.detail) < 250


@given(st.lists(st.text(max_size=4), min_size=1, max_size=5))
@settings(deadline=None, max_examples=200)
def test_the_fast_path_decides_as_the_rules_do(segments: list[str]) -> None:
    path = "/".join(segments)
    parts = path.split("/")
    fine = all(
        part
        and part not in (".", "..")
        and not is_reserved(part)
        and not any(ord(letter) < 0x20 or 0x7F <= ord(letter) <= 0x9F for letter in part)
        for part in parts
    )
    for check, rest in ((check_document_path, 0), (check_collection_path, 1)):
        if fine and len(parts) % 2 == rest:
            assert check(path) == path
        else:
            with pytest.raises(Problem):
                check(path)


def test_a_path_splits_into_collection_and_id() -> None:
    assert split("orders/o1") == ("orders", "o1")
    assert split("orders/o1/items/i1") == ("orders/o1/items", "i1")


def test_an_id_is_a_function_of_its_seed() -> None:
    assert generate_id(b"seed") == generate_id(b"seed") == "xvwOLq1kAXSC5QxBZ4vS"
    assert generate_id(b"seed") != generate_id(b"seed2")


def test_ids_are_uniform() -> None:
    ids = [generate_id(number.to_bytes(4)) for number in range(10_000)]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch("[A-Za-z0-9]{20}", name) for name in ids)
    letters = Counter("".join(ids))
    expected = 20 * len(ids) / 62
    chi_squared = sum((count - expected) ** 2 / expected for count in letters.values())
    # 61 degrees of freedom; the seeds are fixed, so this is a fact about the table of letters, not a gamble.
    assert len(letters) == 62
    assert chi_squared < 100
