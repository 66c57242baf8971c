"""Specifications: what a key's declaration keeps."""

from __future__ import annotations

from dataclasses import MISSING

import pytest

from deora.config import fields


def test_a_declaration_keeps_its_specification() -> None:
    declared = fields.integer("How many.", default=3, minimum=1, maximum=9)
    spec = declared.metadata["spec"]
    assert (spec.kind, spec.meaning, spec.default, spec.minimum, spec.maximum) == ("integer", "How many.", 3, 1, 9)
    assert declared.default == 3


def test_a_key_without_a_default_is_required() -> None:
    declared = fields.text("A name.", rule="id")
    assert declared.metadata["spec"].default is fields.REQUIRED
    assert declared.default is MISSING


def test_only_lists_and_mappings_have_items() -> None:
    item = fields.Spec("text")
    assert fields.item_of(fields.Spec("list", item=item)) is item
    with pytest.raises(TypeError, match="a text has no items"):
        fields.item_of(item)
