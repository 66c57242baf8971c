"""A full disk refuses what is new. What an earlier group has done it does not deny, and no claim is forgotten."""

from __future__ import annotations

import sqlite3
from itertools import count

import pytest

from deora.store.space import FULL_FOR_S
from deora.wire.frames import Decoder, Kind, encode, pack
from tests.fakes.store import (
    MIB,
    Group,
    StoreFile,
    create,
    decode_group,
    encode_call,
    encode_commit,
    encode_operation,
    set_,
)

idents = count(1000)


def refused(store: StoreFile, *frames: bytes) -> Group:
    """A group that finds the disk full, for it brings more than there is room for."""
    [(pages,)] = store.db.execute("PRAGMA page_count").fetchall()
    store.db.execute(f"PRAGMA max_page_count = {pages}")
    large = encode_commit(next(idents), [set_("a/large", {"text": "x" * 100_000})])
    decoded = Decoder().feed(b"".join([*frames, large]))
    with pytest.raises(sqlite3.OperationalError) as caught:
        store.service.handle(decoded)
    assert caught.value.sqlite_errorcode == sqlite3.SQLITE_FULL
    group = decode_group(store.service.refuse_full(decoded))
    assert {answer.status for ident, answer in group.answers.items() if ident >= 1000} == {507}
    return group


def test_a_key_that_has_an_answer_has_it_still(store: StoreFile) -> None:
    first = store.commit(create("a/1", {"n": 1}), key=b"k", fingerprint=b"f")
    group = refused(
        store,
        encode_commit(1, [create("a/1", {"n": 1})], key=b"k", fingerprint=b"f"),
        encode_commit(2, [create("a/1", {"n": 1})], key=b"new", fingerprint=b"f"),
        encode_commit(3, [create("a/1", {"n": 2})], key=b"k", fingerprint=b"other"),
    )
    assert (group.answers[1].status, group.answers[1].value) == (first.status, first.value)
    assert group.answers[2].status == 507
    assert group.answers[3].status == 422


def test_what_is_sent_again_after_a_crash_is_told_what_became_of_it(store: StoreFile) -> None:
    done = store.commit(set_("a/1", {}), ident=7)
    store.handle(encode_operation(8, "pause", "primary", True))
    store.reopen()
    group = refused(
        store,
        encode_commit(7, [set_("a/1", {})], resent=True),
        encode_operation(8, "pause", "primary", True, resent=True),
        encode(Kind.COMMIT, 9, pack(["await", done.commit])),
        encode_commit(10, [set_("a/1", {})], resent=True),
        encode_operation(11, "pause", "primary", True, resent=True),
    )
    assert group.answers[7].value == done.value
    assert group.answers[8].value == {"paused": True, "upstreams": ["primary"]}
    assert group.answers[9].value == [200, done.commit]
    assert {group.answers[ident].status for ident in (10, 11)} == {507}


def test_a_claim_that_the_group_would_have_answered_is_told_to_come_again(store: StoreFile) -> None:
    assert not store.handle(encode_call(70, "next", "primary", 10, MIB, 0.8)).answers
    group = refused(store, encode_commit(1, [set_("a/1", {})]), encode_call(71, "open", "primary"))
    assert {group.answers[ident].problem is not None for ident in (1, 70, 71)} == {True}
    store.db.execute("PRAGMA max_page_count = 100000")
    store.clock.advance(FULL_FOR_S)
    store.commit(set_("a/1", {}))
    claimed = store.claim()
    assert claimed is not None
    assert claimed.numbers == [1]
