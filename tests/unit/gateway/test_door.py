"""What a request must pass before anybody works on it."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
from dataclasses import dataclass

import pytest

from deora.errors import Problem
from deora.gateway.access import Access, Scope
from deora.gateway.clients import Proxies
from deora.gateway.door import CONTROL_SOCKET, WRONG_TOKENS, Door, Peer, peer_of
from deora.gateway.hosts import Names
from deora.gateway.http import Head
from deora.gateway.limits import Budget
from deora.gateway.origins import Origins
from tests.fakes.clock import ManualClock

LAN = Peer("192.168.7.9", is_loopback=False, is_tls=False)
HERE = Peer("127.0.0.1", is_loopback=True, is_tls=False)
PROXY = Peer("10.0.0.2", is_loopback=False, is_tls=False)
PROXIES = Proxies(["10.0.0.0/8"])


@dataclass(frozen=True)
class Token:
    name: str
    hash: str
    scope: str


TILL = Token("till", "sha256:" + hashlib.sha256(b"right").hexdigest(), "write")


def head(**values: object) -> Head:
    made = Head(b"/", b"till.local")
    for name, value in values.items():
        setattr(made, name, value)
    return made


def refusal(door: Door, request: Head, peer: Peer) -> Problem:
    with pytest.raises(Problem) as refused:
        door.check(request, peer)
    return refused.value


def test_the_control_socket_passes() -> None:
    assert Door().check(head(host=b"anything", origin=b"http://evil"), CONTROL_SOCKET).scope is Scope.ADMIN


def test_a_page_of_elsewhere_needs_to_be_allowed() -> None:
    door = Door(names=Names(["till.local"]), origins=Origins(["https://venue.example"]))
    assert refusal(door, head(origin=b"https://evil.example"), HERE).status == 403
    assert door.check(head(origin=b"https://venue.example"), HERE).scope is Scope.ADMIN
    assert door.check(head(origin=b"http://till.local:3000"), HERE).scope is Scope.ADMIN
    assert refusal(door, head(host=b"evil", origin=b"https://venue.example"), HERE).status == 403


def test_an_address_has_a_rate_and_loopback_has_none() -> None:
    clock = ManualClock()
    door = Door(requests=Budget(2, 10.0), now_s=clock.monotonic_s)
    for _ in range(2):
        door.check(head(), LAN)
    problem = refusal(door, head(), LAN)
    assert (problem.status, problem.retry_after_s) == (429, 10)
    for _ in range(5):
        door.check(head(), HERE)
    door.check(head(), LAN._replace(address="192.168.7.10"))
    clock.advance(10)
    door.check(head(), LAN)


def test_a_proxy_names_its_clients_and_nobody_else_does() -> None:
    door = Door(requests=Budget(1, 10.0), proxies=PROXIES)
    for number in range(3):
        door.check(head(forwarded_for=b"6.6.6.6, 192.168.7.%d" % number), PROXY)
    assert refusal(door, head(forwarded_for=b"192.168.7.1"), PROXY).status == 429
    door.check(head(forwarded_for=b"1.1.1.1"), LAN)
    assert refusal(door, head(forwarded_for=b"2.2.2.2"), LAN).status == 429
    # A client that says it is loopback is not, whoever believes it.
    door.check(head(forwarded_for=b"127.0.0.1"), Peer("192.168.7.77", is_loopback=False, is_tls=False))
    assert refusal(door, head(forwarded_for=b"127.0.0.1"), Peer("192.168.7.77", False, False)).status == 429


def test_https_where_it_is_required() -> None:
    door = Door(require_https=True, proxies=PROXIES)
    assert refusal(door, head(), LAN).status == 403
    door.check(head(), HERE)
    door.check(head(), LAN._replace(is_tls=True))
    door.check(head(forwarded_for=b"192.168.7.9", forwarded_proto=b"https"), PROXY)
    assert refusal(door, head(forwarded_for=b"192.168.7.9", forwarded_proto=b"http"), PROXY).status == 403
    assert refusal(door, head(forwarded_proto=b"https"), LAN).status == 403


def test_wrong_tokens_are_counted_and_right_ones_go_on() -> None:
    clock = ManualClock()
    door = Door(Access([TILL]), now_s=clock.monotonic_s)
    assert door.check(head(authorization=b"Bearer right"), LAN)[:2] == (Scope.WRITE, b"till")
    for number in range(WRONG_TOKENS):
        assert refusal(door, head(authorization=b"Bearer %d" % number), LAN).status == 401
    problem = refusal(door, head(authorization=b"Bearer another"), LAN)
    assert (problem.status, problem.retry_after_s) == (429, 60)
    assert door.check(head(authorization=b"Bearer right"), LAN).scope is Scope.WRITE
    assert door.check(head(), LAN).scope is Scope.NONE
    assert refusal(door, head(authorization=b"Bearer x"), LAN._replace(address="192.168.7.10")).status == 401
    clock.advance(60)
    assert refusal(door, head(authorization=b"Bearer y"), LAN).status == 401


def test_a_right_token_that_was_never_seen_waits_with_the_wrong_ones() -> None:
    door = Door(Access([TILL]), now_s=ManualClock().monotonic_s)
    for number in range(WRONG_TOKENS):
        refusal(door, head(authorization=b"Bearer %d" % number), LAN)
    assert refusal(door, head(authorization=b"Bearer right"), LAN).status == 429
    assert door.check(head(authorization=b"Bearer right"), HERE).scope is Scope.WRITE


def test_a_new_door_forgives_nobody() -> None:
    clock = ManualClock()

    def door(requests: Budget | None) -> Door:
        return Door(Access([TILL]), requests=requests, now_s=clock.monotonic_s)

    former = door(Budget(2, 10.0))
    for number in range(WRONG_TOKENS):
        refusal(former, head(authorization=b"Bearer %d" % number), HERE)
    former.check(head(), LAN)
    now = door(Budget(2, 10.0))
    now.remember(former)
    assert refusal(now, head(authorization=b"Bearer another"), HERE).status == 429
    now.check(head(), LAN)
    assert refusal(now, head(), LAN).status == 429
    # A rate that comes or goes with the new settings has nothing to remember.
    without = door(None)
    without.remember(now)
    without.check(head(), LAN)
    again = door(Budget(1, 10.0))
    again.remember(without)
    again.check(head(), LAN)
    assert refusal(again, head(authorization=b"Bearer another"), HERE).status == 429


def test_what_the_answer_says_of_where_it_goes() -> None:
    door = Door(origins=Origins(["https://venue.example"]))
    page = head(origin=b"https://venue.example")
    assert b"Allow-Origin" in door.lines(page, LAN)
    assert b"Allow-Methods" not in door.lines(page, LAN)
    assert b"Allow-Methods" in door.lines(head(origin=b"https://venue.example", requested_method=b"PUT"), LAN)
    assert b"Strict-Transport-Security" in door.lines(head(), LAN._replace(is_tls=True))
    assert Door().lines(head(), LAN) == b""


def test_on_a_unix_socket_the_kernel_tells_who_it_is() -> None:
    async def talk() -> tuple[Peer, Peer]:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        transport, _ = await loop.connect_accepted_socket(asyncio.Protocol, theirs)
        found = peer_of(transport)
        transport.close()
        ours.close()
        await asyncio.sleep(0)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = socket.create_connection(listener.getsockname())
            accepted, _ = listener.accept()
            transport, _ = await loop.connect_accepted_socket(asyncio.Protocol, accepted)
            by_tcp = peer_of(transport)
            transport.close()
            client.close()
            await asyncio.sleep(0)
        return found, by_tcp

    by_socket, by_tcp = asyncio.run(talk())
    assert (by_socket.address, by_socket.uid, by_socket.shown) == (
        "",
        os.getuid(),
        f"control socket, user {os.getuid()}",
    )
    assert (by_tcp.uid, by_tcp.shown) == (None, "127.0.0.1")
