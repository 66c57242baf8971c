"""What a copy from upstream does to a document: the table of the module, and what waits on top of it."""

from __future__ import annotations

import pytest

from deora.documents.writes import Write, encode_writes
from deora.store.merging import Merged, Unfit, Unsettled, merge, replay_writes
from tests.fakes.store import create, delete, set_, update

COPY = b'{"n":10}'


def payload(*writes: Write) -> bytes:
    """The writes of one entry."""
    return encode_writes(list(writes))


ONE = payload(update("a/1", {"n": {"$increment": 1}}))


def merged(copy_seq: int, base_seq: int, settled_seq: int, *unsettled: Unsettled) -> Merged | Unfit:
    """`merge` of the copy."""
    return merge("a/1", COPY, copy_seq=copy_seq, base_seq=base_seq, settled_seq=settled_seq, unsettled=list(unsettled))


WAITING, SENT = Unsettled(ONE, in_flight=False), Unsettled(ONE, in_flight=True)


@pytest.mark.parametrize(
    ("copy_seq", "base_seq", "settled_seq", "unsettled", "outcome"),
    [
        (5, 5, 5, (), Merged(b'{"n":10}')),
        (5, 5, 5, (WAITING,), Merged(b'{"n":11}')),
        # In flight, but not in the copy: its batch lands behind the last settled one.
        (5, 5, 5, (SENT, WAITING), Merged(b'{"n":12}')),
        # Batches were settled since, but none of this document.
        (3, 2, 5, (WAITING,), Merged(b'{"n":11}')),
        # One of them was this document's.
        (3, 4, 5, (), Unfit.OLDER),
        (3, 4, 5, (WAITING,), Unfit.OLDER),
        # The snapshot is ahead of what is settled.
        (6, 5, 5, (), Merged(b'{"n":10}')),
        (6, 5, 5, (WAITING,), Merged(b'{"n":11}')),
        (6, 5, 5, (SENT,), Unfit.UNDECIDED),
        (6, 5, 5, (SENT, WAITING), Unfit.UNDECIDED),
        (0, 0, 0, (), Merged(b'{"n":10}')),
    ],
)
def test_the_seqs_decide_what_becomes_of_a_copy(
    copy_seq: int, base_seq: int, settled_seq: int, unsettled: tuple[Unsettled, ...], outcome: Merged | Unfit
) -> None:
    assert merged(copy_seq, base_seq, settled_seq, *unsettled) == outcome


def test_a_copy_of_nothing_is_one_too() -> None:
    waiting = [Unsettled(payload(update("a/1", {"n": 1}, upsert=True)), in_flight=False)]
    assert merge("a/1", None, copy_seq=1, base_seq=0, settled_seq=1, unsettled=[]) == Merged(None)
    assert merge("a/1", None, copy_seq=1, base_seq=0, settled_seq=1, unsettled=waiting) == Merged(b'{"n":1}')


@pytest.mark.parametrize(
    ("base", "entries", "view"),
    [
        (None, [], None),
        (b'{"n":1}', [ONE] * 3, b'{"n":4}'),
        (b'{"n":1}', [payload(delete("a/1")), payload(create("a/1", {"m": 2}))], b'{"m":2}'),
        (b'{"n":1}', [payload(set_("a/2", {}), set_("a/1", {"x": 1}), update("a/1", {"y": 2}))], b'{"x":1,"y":2}'),
        # What does not apply changes nothing: upstream refuses it, too.
        (None, [payload(update("a/1", {"n": 1})), payload(set_("a/1", {"n": 2}))], b'{"n":2}'),
        (b'{"n":1}', [payload(create("a/1", {"n": 9})), payload(update("a/1", {"m": 3}))], b'{"m":3,"n":1}'),
    ],
)
def test_writes_are_replayed_in_order_on_the_base(base: bytes | None, entries: list[bytes], view: bytes | None) -> None:
    assert replay_writes(base, "a/1", entries) == view


def test_what_upstream_applied_did_apply_there() -> None:
    entries = [payload(create("a/1", {"n": 9})), payload(update("a/2", {"n": 1})), ONE]
    assert replay_writes(b'{"n":1}', "a/1", entries, applied=True) == b'{"n":10}'
    assert replay_writes(None, "a/1", [ONE], applied=True) == b'{"n":1}'
