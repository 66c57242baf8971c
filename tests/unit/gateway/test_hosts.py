"""Only what names this box may reach it."""

from __future__ import annotations

import socket

import pytest

from deora.errors import Problem
from deora.gateway.hosts import Names, own_names

NAMES = Names(["till.local", "192.168.7.5"])


@pytest.mark.parametrize(
    "host",
    [b"localhost", b"localhost:3000", b"127.0.0.1:3000", b"[::1]:3000", b"Till.Local", b"192.168.7.5:80", b"LOCALHOST"],
)
def test_names_of_this_box(host: bytes) -> None:
    for _ in range(2):
        NAMES.check_host(host)
    NAMES.check_origin(b"http://" + host)


@pytest.mark.parametrize(
    "host", [b"evil.com", b"localhost.evil.com", b"evil.com:3000", b"", b"[::1", b"127.0.0.1@evil.com", b"\xff"]
)
def test_other_names_are_refused(host: bytes) -> None:
    with pytest.raises(Problem) as refused:
        NAMES.check_host(host)
    assert refused.value.status == 403


@pytest.mark.parametrize("origin", [b"http://evil.com", b"null", b"", b"http://localhost.evil.com", b"file://"])
def test_pages_of_elsewhere_are_refused(origin: bytes) -> None:
    with pytest.raises(Problem, match="Origin"):
        NAMES.check_origin(origin)


def test_the_box_has_its_own_addresses() -> None:
    names = own_names()
    assert socket.gethostname() in names
    assert "127.0.0.1" in names
