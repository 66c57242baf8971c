"""The sockets that clients come in by."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from pathlib import Path

import pytest

from deora.errors import StartError
from deora.supervisor.listeners import CONTROL_NAME, control_directory, listen_control, listen_tcp, listening, shut


def connects(sock: socket.socket) -> bool:
    """Whether a client reaches a listening TCP socket."""
    with socket.create_connection(sock.getsockname()[:2], timeout=5):
        return True


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_tcp(host: str) -> None:
    with listen_tcp(host, 0) as sock:
        assert sock.getsockname()[1] > 0
        assert not sock.getblocking()
        assert connects(sock)


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_ipv6() -> None:
    try:
        sock = listen_tcp("::1", 0)
    except StartError as error:
        pytest.skip(f"no IPv6 loopback here: {error}")
    with sock:
        assert sock.family is socket.AF_INET6
        assert connects(sock)


def test_a_port_that_is_taken() -> None:
    with listen_tcp("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartError, match=f"cannot listen on 127.0.0.1:{port}") as refused:
            listen_tcp("127.0.0.1", port)
        assert f"ss -ltnp 'sport = :{port}'" in (refused.value.hint or "")
    # Connections of its last life do not keep a port from its next.
    with listen_tcp("127.0.0.1", port) as sock:
        assert connects(sock)
    listen_tcp("127.0.0.1", port).close()


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid"])
def test_an_address_that_is_not_ours(host: str) -> None:
    with pytest.raises(StartError, match=host) as refused:
        listen_tcp(host, 0)
    assert "ip addr" in (refused.value.hint or "")


def test_a_port_that_needs_a_privilege() -> None:
    if os.geteuid() == 0:
        pytest.skip("this user may listen on any port")
    with pytest.raises(StartError) as refused:
        listen_tcp("127.0.0.1", 1)
    assert "1024" in (refused.value.hint or "")


# -- what systemd hands over


def test_one_listener_is_taken_and_does_not_block() -> None:
    assert listening([]) is None
    with socket.create_server(("127.0.0.1", 0)) as sock:
        assert sock.getblocking()
        assert listening([sock]) is sock
        assert not sock.getblocking()
        assert connects(sock)


def test_anything_else_is_refused() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_server(("127.0.0.1", 0)) as other,
        socket.socket(socket.AF_INET, socket.SOCK_STREAM) as silent,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as unix,
    ):
        for sockets in ([listener, other], [silent], [datagrams], [unix]):
            with pytest.raises(StartError, match="not one listening TCP socket") as refused:
                listening(sockets)
            assert "ListenStream" in (refused.value.hint or "")


# -- the control socket


def test_the_control_socket_is_its_owners_alone(tmp_path: Path) -> None:
    with listen_control(tmp_path) as sock:
        mode = (tmp_path / CONTROL_NAME).stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o600
        assert not sock.getblocking()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(tmp_path / CONTROL_NAME))
    assert os.umask(0o022) == 0o022


def test_what_a_dead_instance_left_is_replaced(tmp_path: Path) -> None:
    listen_control(tmp_path).close()
    assert (tmp_path / CONTROL_NAME).exists()
    with listen_control(tmp_path), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / CONTROL_NAME))


def test_it_may_lie_as_deep_as_you_like(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["a-folder-with-a-rather-long-name"] * 6)
    deep.mkdir(parents=True)
    assert len(str(deep)) > 108
    with listen_control(deep):
        assert (deep / CONTROL_NAME).exists()


def test_where_it_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / CONTROL_NAME).mkdir()
    with pytest.raises(StartError, match="cannot be made") as refused:
        listen_control(tmp_path)
    assert "file system" in (refused.value.hint or "")


def test_it_lies_in_systemds_runtime_directory_or_in_the_data_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    assert control_directory(tmp_path) == tmp_path
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/deora:/run/other")
    assert control_directory(tmp_path) == Path("/run/deora")
    monkeypatch.setenv("RUNTIME_DIRECTORY", "")
    assert control_directory(tmp_path) == tmp_path


def test_who_waits_is_let_in_before_the_queue_is_closed() -> None:
    async def run() -> list[asyncio.Protocol]:
        let_in: list[asyncio.Protocol] = []

        def entrance() -> asyncio.Protocol:
            let_in.append(asyncio.Protocol())
            return let_in[-1]

        listener = listen_tcp("127.0.0.1", 0)
        address = listener.getsockname()
        waiting = [socket.create_connection(address) for _ in range(3)]
        await shut(listener, entrance)
        for sock in waiting:
            sock.close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)
        await asyncio.sleep(0)
        return let_in

    assert len(asyncio.run(run())) == 3
