"""Links over real socket pairs."""

from __future__ import annotations

import asyncio
import socket

from deora.wire.frames import Frame, Kind, encode
from deora.wire.link import BlockingLink, Link


def test_frames_cross_in_order_and_the_end_is_told_once() -> None:
    async def scenario() -> tuple[list[Frame], int]:
        ours, theirs = socket.socketpair()
        received: list[Frame] = []
        lost: list[Link] = []
        ended = asyncio.Event()

        def on_lost(link: Link) -> None:
            lost.append(link)
            ended.set()

        left = await Link.open(ours, lambda *_: None, lambda _: None)
        right = await Link.open(theirs, lambda _, frame: received.append(frame), on_lost)
        for number in range(1000):
            left.send(encode(Kind.PING, number, b"x" * (number % 97)))
        opened = right.is_open
        left.close()
        await asyncio.wait_for(ended.wait(), 5)
        assert (opened, right.is_open) == (True, False)
        right.send(encode(Kind.PING, 1))
        return received, len(lost)

    received, lost = asyncio.run(scenario())
    assert [frame[4] for frame in received] == list(range(1000))
    assert lost == 1


def test_an_answer_within_the_call_leaves_at_once() -> None:
    async def scenario() -> list[Frame]:
        ours, theirs = socket.socketpair()
        answers: list[Frame] = []
        answered = asyncio.Event()

        def on_answer(_: Link, frame: Frame) -> None:
            answers.append(frame)
            answered.set()

        left = await Link.open(ours, on_answer, lambda _: None)
        right = await Link.open(theirs, lambda link, frame: link.send(encode(Kind.PONG, frame[4])), lambda _: None)
        left.send(encode(Kind.PING, 7))
        await asyncio.wait_for(answered.wait(), 5)
        left.close()
        right.close()
        return answers

    assert [(frame[0], frame[4]) for frame in asyncio.run(scenario())] == [(Kind.PONG, 7)]


def test_the_blocking_link_takes_all_that_has_arrived() -> None:
    ours, theirs = socket.socketpair()
    link = BlockingLink(theirs)
    assert link.receive(0.0) == []
    ours.sendall(encode(Kind.PING, 1) + encode(Kind.PING, 2) + encode(Kind.PING, 3)[:10])
    frames = link.receive(1.0)
    assert frames is not None
    assert [frame[4] for frame in frames] == [1, 2]
    ours.sendall(encode(Kind.PING, 3)[10:])
    assert link.receive_one() == (Kind.PING, 0, 0, 0, 3, b"")
    link.send(encode(Kind.PONG, 3))
    assert ours.recv(100) == encode(Kind.PONG, 3)
    ours.close()
    assert link.receive(1.0) is None
    assert link.receive_one() is None
    theirs.close()
