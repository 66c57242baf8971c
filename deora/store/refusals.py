"""Answers to frames, and what a group is answered that the disk had no room for: nothing of it is kept."""

from __future__ import annotations

from typing import Any

from deora.errors import Problem
from deora.store.answers import Answers
from deora.store.commits import CommitRequest, Result
from deora.store.space import full
from deora.wire.frames import FLAG_RESENT, Frame, Kind, encode, pack, unpack


def refuse_group(
    frames: list[Frame], parked: list[int], kept: Answers, disk: dict[str, int | str | None]
) -> list[bytes]:
    """507 to clients, "later" to the replayer, whose claims that waited are `parked`. No transaction is open."""
    later = pack(Problem("unavailable", "the store has no room").to_wire())
    # A claim of this very group may wait already.
    calls = dict.fromkeys([*parked, *(frame[4] for frame in frames if frame[0] == Kind.CALL)])
    out = [encode(Kind.REPLY, ident, later, aux=1) for ident in calls]
    for kind, flags, _, generation, ident, body in frames:
        if kind == Kind.COMMIT:
            try:
                status, result = _known(kept, ident, unpack(body), resent=bool(flags & FLAG_RESENT))
                out.append(encode(Kind.RESULT, ident, result, aux=status))
            except Problem as problem:
                out.append(encode(Kind.RESULT, ident, pack(problem.to_wire()), aux=problem.status))
        elif kind == Kind.PING:
            out.append(encode(Kind.PONG, ident, pack(disk), generation=generation))
    return out


def _known(kept: Answers, ident: int, parts: list[Any], *, resent: bool) -> tuple[int, bytes]:
    """Status and body of the answer of an earlier group: what has taken effect must not be told to have failed.

    Raises Problem("disk-full") where there is none, and Problem("key-reused"). Writes nothing.
    """
    packed = None
    if parts[0] == "await":
        return 200, pack([200, parts[1]])
    if parts[0] != "write":
        packed = kept.of_request(ident, b"") if resent else None
        if packed is not None:
            return 200, packed
    else:
        request = CommitRequest.from_wire(parts[1:])
        if request.key is not None:
            packed = kept.under_key(request.key, request.fingerprint)
            if packed is None and request.repeats:
                packed = kept.of_request(*request.repeats)
        elif resent:
            packed = kept.of_request(ident, request.fingerprint)
        if packed is not None:
            return Result.known(packed).status, packed
    raise full("there is no room on the disk")


def reply_frame(ident: int, value: Any) -> bytes:
    """The answer to a CALL: a value, or the Problem that refuses it."""
    if isinstance(value, Problem):
        return encode(Kind.REPLY, ident, pack(value.to_wire()), aux=1)
    return encode(Kind.REPLY, ident, pack(value))


def result_frame(ident: int, value: Any) -> bytes:
    """The answer to a COMMIT of an operator, or the Problem that refuses any."""
    if isinstance(value, Problem):
        return encode(Kind.RESULT, ident, pack(value.to_wire()), aux=value.status)
    return encode(Kind.RESULT, ident, pack(value), aux=200)
