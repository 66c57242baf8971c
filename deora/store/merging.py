"""What a copy that was read upstream does to a document. Pure: sequence numbers and entries in, the new view out.

Upstream's cursor tells which of this box's batches a snapshot holds: all up to its seq, none later. So a copy that
carries the seq of its snapshot can be put under the writes that are still on their way, and nothing counts twice:

    copy_seq < base_seq      OLDER      a batch that touched the document was settled since: the base is newer
    copy_seq <= settled_seq  merged     no unsettled entry is in the copy: the view is the copy with all of them applied
    copy_seq > settled_seq   UNDECIDED  where an entry of the document is in flight: the next seq may have been taken by
                                        its batch or by that batch's fence, and the seq alone does not tell which
                             merged     where none is: what waits has not been sent

An undecided copy is read again once the batch is settled. A settlement is always newer than the base that it moves on:
the copies taken before it have at most the seq of the batch before.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from deora.documents.apply import apply
from deora.documents.writes import Write, decode_writes
from deora.errors import Problem


class Unfit(Enum):
    """Why a copy cannot be taken; see the module."""

    OLDER = "older"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Unsettled:
    """An entry that touches the document and is waiting, in flight or dead."""

    payload: bytes
    in_flight: bool


@dataclass(frozen=True, slots=True)
class Merged:
    """The copy becomes the base, and this the view."""

    view: bytes | None


def merge(
    path: str,
    copy: bytes | None,
    *,
    copy_seq: int,
    base_seq: int,
    settled_seq: int,
    unsettled: list[Unsettled],
) -> Merged | Unfit:
    """What becomes of the document `path` by a copy (canonical text, None for none) of a snapshot at `copy_seq`.

    `base_seq` is its base's, `settled_seq` that of the last batch that was settled; `unsettled` its entries in order.
    """
    if copy_seq < base_seq:
        return Unfit.OLDER
    if copy_seq > settled_seq and any(entry.in_flight for entry in unsettled):
        return Unfit.UNDECIDED
    return Merged(replay_writes(copy, path, (entry.payload for entry in unsettled)))


def replay_writes(text: bytes | None, path: str, payloads: Iterable[bytes], *, applied: bool = False) -> bytes | None:
    """`text` after the writes to `path` in these entries, in order.

    A write that does not apply (an update of what is not there) changes nothing: upstream will refuse it too. What
    upstream has `applied` did apply there, whatever is known of its copy here.
    """
    for payload in payloads:
        for write in decode_writes(payload):
            if write.path == path:
                if applied and write.op == "create":
                    write = Write("set", path, write.data)
                elif applied and write.op == "update":
                    write = Write("update", path, write.data, upsert=True)
                try:
                    text = apply(text, write)
                except Problem:
                    continue
    return text
