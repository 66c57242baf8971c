"""Field names and dotted field paths."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deora.documents.fields import MAX_KEY_BYTES, format_field_path, key_fault, parse_field_path
from deora.errors import Problem


@pytest.mark.parametrize(
    ("text", "segments"),
    [
        ("total", ("total",)),
        ("guest.name", ("guest", "name")),
        ("a.b.c.d", ("a", "b", "c", "d")),
        ("_private", ("_private",)),
        ("a-b c.0", ("a-b c", "0")),
        ("größe.é", ("größe", "é")),
        ("`a.b`.c", ("a.b", "c")),
        ("a.`b`", ("a", "b")),
        (r"`a\`b`", ("a`b",)),
        (r"`a\\`", ("a\\",)),
        (r"`\\\``", ("\\`",)),
        ("`a\nb`", ("a\nb",)),
        (r"a\b", ("a\\b",)),
        ("x" * MAX_KEY_BYTES + "." + "y" * MAX_KEY_BYTES, ("x" * MAX_KEY_BYTES, "y" * MAX_KEY_BYTES)),
    ],
)
def test_paths_that_are_fine(text: str, segments: tuple[str, ...]) -> None:
    assert parse_field_path(text) == segments


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty segment at character 1"),
        (".", "empty segment at character 1"),
        ("a.", "empty segment at character 3"),
        (".a", "empty segment at character 1"),
        ("a..b", "empty segment at character 3"),
        ("``", "empty field name"),
        ("`a", "does not end"),
        ("a.`b", "does not end"),
        (r"`a\n`", "backslash"),
        ("`a`b", "a '.' is expected at character 4"),
        ("a`b`", "a '.' is expected at character 2"),
        ("a\nb", "a '.' is expected at character 2"),
        ("\x7f", "control character at character 1"),
        ("a.\x85", "control character at character 3"),
        ("`a\0`", "NUL"),
        ("__x__", "reserved"),
        ("a.__x__", "reserved"),
        ("$x", "begins with '$'"),
        ("a.`$x`", "begins with '$'"),
        ("a\ud800", "lone surrogate"),
        ("x" * (MAX_KEY_BYTES + 1), f"{MAX_KEY_BYTES + 1} bytes"),
        ("é" * 751, "1502 bytes"),
    ],
)
@pytest.mark.parametrize("kind", ["invalid-update", "invalid-query"])
def test_paths_that_are_refused(text: str, said: str, kind: str) -> None:
    with pytest.raises(Problem, match=re.escape(said)) as caught:
        parse_field_path(text, kind)
    assert caught.value.kind == kind
    assert caught.value.hint is not None


def test_the_strict_form_quotes_what_firestore_wants_quoted() -> None:
    assert format_field_path(["a", "b_1", "_c"]) == "a.b_1._c"
    assert format_field_path(["1", "a.b", "", "é", "a`b\\c"]) == r"`1`.`a.b`.``.`é`.`a\`b\\c`"


@given(st.lists(st.text(min_size=1, max_size=6).filter(lambda name: key_fault(name) is None), min_size=1, max_size=4))
@settings(deadline=None, max_examples=200)
def test_what_is_formatted_is_parsed_back(segments: list[str]) -> None:
    assert parse_field_path(format_field_path(segments)) == tuple(segments)


@given(st.text(alphabet=st.sampled_from("aZ9_.`\\$é \n-"), max_size=12))
@settings(deadline=None, max_examples=200)
def test_any_text_is_parsed_or_refused_and_never_changes_its_meaning(text: str) -> None:
    try:
        segments = parse_field_path(text)
    except Problem:
        return
    assert parse_field_path(format_field_path(segments)) == segments


@pytest.mark.parametrize("key", ["a", "_", "__", "___", "__a", "a__", "a$", "\x01", " ", "é" * 750])
def test_names_that_are_fine(key: str) -> None:
    assert key_fault(key) is None
