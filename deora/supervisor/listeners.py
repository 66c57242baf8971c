"""The sockets that clients come in by: TCP for tills, a Unix socket for the command line."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

from deora.errors import StartError

BACKLOG: Final = 4096
CONTROL_NAME: Final = "control.sock"


def listen_tcp(host: str, port: int) -> socket.socket:
    """A listening socket on host and port. Raises StartError where the address is taken or not ours."""
    # localhost is loopback, whether or not this box can look the name up (RFC 6761, 6.3).
    if host.lower() == "localhost":
        host = "127.0.0.1"
    try:
        [family, kind, protocol, _, address] = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise StartError(
            f"servers.host {host!r} is no address of this machine: {error.strerror}",
            hint="use 127.0.0.1, or an address that `ip addr` shows",
        ) from error
    sock = socket.socket(family, kind, protocol)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind(address)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise StartError(f"cannot listen on {host}:{port}: {error.strerror}", hint=_hint(error, port)) from error
    sock.setblocking(False)
    return sock


async def shut(listener: socket.socket, entrance: Callable[[], asyncio.Protocol] | None) -> None:
    """Lets in by `entrance` who waits in the kernel's queue, and closes it: who comes now is refused, and knows that
    nothing was done. An open queue would take his request, and reset him when the process ends.

    Without an entrance nobody is let in: a TLS handshake may take long. A listener of systemd's is closed here alone:
    there he waits for the instance that follows.
    """
    if entrance is not None:
        with contextlib.suppress(OSError):  # nobody waits, or no descriptor is left
            for _ in range(BACKLOG):
                await asyncio.get_running_loop().connect_accepted_socket(entrance, listener.accept()[0])
    listener.close()


def listening(sockets: list[socket.socket]) -> socket.socket | None:
    """The listener among the sockets that systemd has handed over; None where it has handed over none.

    Raises StartError for anything but one listening TCP socket: who wrote the unit expects all of them to be served.
    """
    if not sockets:
        return None
    for sock in sockets:
        is_tcp = sock.family in (socket.AF_INET, socket.AF_INET6) and sock.type == socket.SOCK_STREAM
        if len(sockets) > 1 or not is_tcp or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise StartError(
                "the sockets that were handed over (LISTEN_FDS) are not one listening TCP socket",
                hint="the .socket unit must have one ListenStream=, an address with a port",
            )
    [sock] = sockets
    sock.setblocking(False)
    return sock


def _hint(error: OSError, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"another program listens there (`ss -ltnp 'sport = :{port}'` names it); choose another with --port"
    if error.errno == errno.EACCES:
        return "ports below 1024 need a privilege; choose another with --port"
    return "use 127.0.0.1, or an address that `ip addr` shows"


def control_directory(data: Path) -> Path:
    """Where the control socket lies: systemd's runtime directory, else the data directory."""
    runtime = os.environ.get("RUNTIME_DIRECTORY")
    return Path(runtime.split(":")[0]) if runtime else data


def listen_control(directory: Path) -> socket.socket:
    """The control socket, for the owner alone. What a dead instance left there is replaced: the lock is ours."""
    # A Unix socket's path has at most 107 bytes; through a descriptor of its directory any depth works.
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        path = f"/proc/self/fd/{descriptor}/{CONTROL_NAME}"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        old_mask = os.umask(0o177)
        try:
            sock.bind(path)
        finally:
            os.umask(old_mask)
        sock.listen(64)
        sock.setblocking(False)
        return sock
    except OSError as error:
        raise StartError(
            f"the control socket {directory / CONTROL_NAME} cannot be made: {error.strerror}",
            hint="the data directory must be on a file system with Unix sockets, and belong to this user",
        ) from error
    finally:
        os.close(descriptor)
