"""Versions made from content."""

from __future__ import annotations

from deora.documents.versions import copy_version


def test_a_version_follows_the_content_and_nothing_else() -> None:
    assert copy_version(b'{"n":1}') == copy_version(b'{"n":1}')
    assert copy_version(b'{"n":1}') != copy_version(b'{"n":1.0}')
    assert len(copy_version(b"{}")) == 25


def test_a_version_is_told_from_that_of_a_commit() -> None:
    assert copy_version(b"{}").startswith("~")
    assert '"' not in copy_version(b"{}")
