"""Links over real socket pairs."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable

import pytest

from deora.errors import FrameError
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


async def linked(on_frame: Callable[[Link, Frame], None]) -> tuple[Link, socket.socket, asyncio.Event]:
    """A link, the socket at its other end, and an event for its end."""
    ours, theirs = socket.socketpair()
    ended = asyncio.Event()
    return await Link.open(ours, on_frame, lambda _: ended.set()), theirs, ended


def read_all(peer: socket.socket) -> bytes:
    """All that comes until the end."""
    return b"".join(iter(lambda: peer.recv(65536), b""))


def test_what_is_sent_just_before_the_close_still_goes_out() -> None:
    """Much more than a socket's buffer holds, to a peer that reads later."""
    sent = [encode(Kind.ANSWER, number, bytes(100_000)) for number in range(40)]

    async def scenario() -> bytes:
        link, theirs, ended = await linked(lambda *_: None)
        for frame in sent:
            link.send(frame)
        link.close()
        received = await asyncio.wait_for(asyncio.to_thread(read_all, theirs), 10)
        await asyncio.wait_for(ended.wait(), 5)
        theirs.close()
        return received

    assert asyncio.run(scenario()) == b"".join(sent)


def test_a_peer_that_sends_no_frames_loses_its_link(caplog: pytest.LogCaptureFixture) -> None:
    received: list[Frame] = []

    async def scenario() -> None:
        link, theirs, ended = await linked(lambda _, frame: received.append(frame))
        theirs.sendall(encode(Kind.PING, 1))
        theirs.sendall(b"GET / HTTP/1.1\r\nHost: deora\r\n\r\n" + encode(Kind.PING, 2))
        await asyncio.wait_for(ended.wait(), 5)
        assert not link.is_open
        theirs.close()

    asyncio.run(scenario())
    assert [frame[4] for frame in received] in ([], [1])
    assert any(isinstance(record.exc_info and record.exc_info[1], FrameError) for record in caplog.records)


def test_a_peer_that_goes_with_frames_unread_is_a_peer_that_has_gone() -> None:
    """The operating system says "connection reset" then, and not "end of file"."""
    ours, theirs = socket.socketpair()
    link = BlockingLink(theirs)
    link.send(encode(Kind.PONG, 1))
    ours.close()
    assert link.receive(1.0) is None
    theirs.close()


def test_sending_to_a_peer_that_has_gone_sends_nothing() -> None:
    ours, theirs = socket.socketpair()
    link = BlockingLink(theirs)
    ours.close()
    link.send(encode(Kind.PONG, 1))
    assert link.receive(1.0) is None
    theirs.close()


def test_a_large_frame_goes_through_a_blocking_link() -> None:
    ours, theirs = socket.socketpair()
    frame = encode(Kind.CALL, 7, bytes(range(256)) * 20_000)
    thread = threading.Thread(target=BlockingLink(ours).send, args=(frame,))
    thread.start()
    assert BlockingLink(theirs).receive_one() == (Kind.CALL, 0, 0, 0, 7, frame[20:])
    thread.join(5)
    ours.close()
    theirs.close()


def test_a_socket_can_go_over_to_a_loop() -> None:
    """A child reads its INIT without a loop and serves with one."""
    ours, theirs = socket.socketpair()
    link = BlockingLink(theirs)
    ours.sendall(encode(Kind.INIT, 0))
    assert link.receive_one() is not None

    async def scenario() -> Frame:
        came: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        taken = await Link.open(link.detach(), lambda _, frame: came.set_result(frame), lambda _: None)
        ours.sendall(encode(Kind.PING, 5))
        frame = await asyncio.wait_for(came, 5)
        taken.close()
        return frame

    assert asyncio.run(scenario())[:5] == (Kind.PING, 0, 0, 0, 5)
    ours.close()
