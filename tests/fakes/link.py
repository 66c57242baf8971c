"""A link to a server whose packets can be dropped, as by a router that has died: a network namespace of the test's own.

A proxy listens in the namespace, at the far end of a pair of virtual network cards, and passes on to the server here;
iptables in there drops what comes and goes. Who connects meets what a real blackhole is: SYNs without an answer, and
connections on which nothing comes any more.

The namespace has no name and belongs to a process that ends with the test's, however that ends: nothing is left behind.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest

from tests.fakes.proxy import Proxy

CLONE_NEWNET: Final = 0x40000000
PROGRAMS: Final = {"ip": "iproute2", "iptables": "iptables", "unshare": "util-linux", "nsenter": "util-linux"}
_NUMBERS: Final = itertools.count()


class Link:
    """`host` and `port` are where the server is, seen from here."""

    def __init__(self, host: str, proxy: Proxy, namespace: str) -> None:
        self.host = host
        self.port = proxy.port
        self.proxy = proxy
        self._namespace = namespace

    def cut(self) -> None:
        """From now on every packet is dropped, in both directions."""
        for chain in ("INPUT", "OUTPUT"):
            _run("nsenter", f"--net={self._namespace}", "iptables", "-w", "-I", chain, "-j", "DROP")

    def mend(self) -> None:
        """Packets pass again."""
        for chain in ("INPUT", "OUTPUT"):
            _run("nsenter", f"--net={self._namespace}", "iptables", "-w", "-F", chain)


@contextmanager
def link(target_port: int) -> Iterator[Link]:
    """A link to `target_port` of 127.0.0.1. Skips the test where none can be made here, and says what is missing."""
    missing = sorted({package for name, package in PROGRAMS.items() if shutil.which(name, path=_path()) is None})
    if os.geteuid() != 0 or missing:
        need = f"apt-get install {' '.join(missing)}" if missing else "root, for a network namespace"
        pytest.skip(f"dropping packets needs {need}")
    number = (os.getpid() * 4 + next(_NUMBERS)) % 16384
    # 198.18.0.0/15 is set aside for tests of networks (RFC 2544); each link has four addresses of it.
    prefix = f"198.18.{number // 64}.{number % 64 * 4}".rpartition(".")
    near, far = (f"{prefix[0]}.{int(prefix[2]) + step}" for step in (1, 2))
    holder = subprocess.Popen([_found("unshare"), "--net", "cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    namespace = f"/proc/{holder.pid}/ns/net"
    try:
        _wait_for_namespace(namespace)
        _connect(f"deora{number}", near, far, holder.pid)
        with Proxy(target_port, _listen_in(namespace, far)) as proxy:
            yield Link(far, proxy, namespace)
    finally:
        holder.kill()
        holder.communicate()


def _wait_for_namespace(namespace: str) -> None:
    """Returns once the holder is in a namespace of its own."""
    for _ in range(1000):
        if os.stat(namespace).st_ino != os.stat("/proc/self/ns/net").st_ino:
            return
        threading.Event().wait(0.01)
    raise AssertionError("unshare has made no namespace")


def _connect(card: str, near: str, far: str, pid: int) -> None:
    """Two cards with a cable between them, one here and one in the namespace. They go when the namespace goes."""
    _run("ip", "link", "add", card, "type", "veth", "peer", "name", "deora", "netns", str(pid))
    _run("ip", "address", "add", f"{near}/30", "dev", card)
    _run("ip", "link", "set", card, "up")
    inside = ("nsenter", f"--net=/proc/{pid}/ns/net")
    _run(*inside, "ip", "address", "add", f"{far}/30", "dev", "deora")
    _run(*inside, "ip", "link", "set", "deora", "up")


def _listen_in(namespace: str, host: str) -> socket.socket:
    """A listener in the namespace. A socket stays where it was made; so a thread goes there and makes it."""
    made: list[socket.socket] = []

    def make() -> None:
        descriptor = os.open(namespace, os.O_RDONLY)
        try:
            if ctypes.CDLL(None, use_errno=True).setns(descriptor, CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
            made.append(socket.create_server((host, 0)))
        finally:
            os.close(descriptor)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    assert made, "no listener could be made in the namespace"
    return made[0]


def _run(program: str, *arguments: str) -> None:
    done = subprocess.run(
        [_found(program), *arguments], capture_output=True, text=True, check=False, env={"PATH": _path()}
    )
    assert done.returncode == 0, f"{program} {' '.join(arguments)}: {done.stderr}"


def _found(program: str) -> str:
    return shutil.which(program, path=_path()) or program


def _path() -> str:
    """The PATH with the folders of programs for root, which Debian leaves out of a user's."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
