"""Starts the peers on free ports of 127.0.0.1.

Each function returns the URL that takes the load; what it starts ends with `stack`.
"""

from __future__ import annotations

import importlib.util
import os
import string
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from bench.instance import PROJECT
from bench.processes import NotMeasuredError, Process, answers, find_program, free_port, listens

NGINX: Final = "nginx in front of two uvicorn workers (uvloop, httptools, Unix sockets) that answer a constant"
REDIS: Final = "two uvicorn workers (uvloop, httptools) that RPUSH to Redis with appendfsync always through redis-py"


def require(*modules: str) -> None:
    """Raises NotMeasuredError unless these Python packages are installed."""
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise NotMeasuredError(f"the Python package {module} is not installed (`make bench` installs it)")


def _uvicorn(application: str, *arguments: str) -> list[str]:
    command = [sys.executable, "-m", "uvicorn", f"bench.peers.{application}:application", "--lifespan", "off"]
    return [
        *command,
        "--loop",
        "uvloop",
        "--http",
        "httptools",
        "--log-level",
        "warning",
        "--no-access-log",
        *arguments,
    ]


def start_nginx(stack: ExitStack, directory: Path, body: bytes) -> str:
    """nginx and its two workers, which answer `body`."""
    nginx = find_program("nginx")
    require("uvicorn", "uvloop", "httptools")
    (directory / "body").write_bytes(body)
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "BENCH_BODY": str(directory / "body")}
    for number in (1, 2):
        socket = directory / f"worker-{number}.sock"
        command = _uvicorn("constant", "--uds", str(socket))
        stack.enter_context(Process(f"worker-{number}", command, directory, environment)).wait_until(socket.is_socket)
    port = free_port()
    # Started by root, nginx would change to a user who may not enter the directory of this run.
    user = "user root;" if os.geteuid() == 0 else ""
    template = string.Template(Path(__file__).with_name("nginx.conf").read_text(encoding="utf-8"))
    (directory / "nginx.conf").write_text(
        template.substitute(user=user, directory=directory, port=port), encoding="utf-8"
    )
    url = f"http://127.0.0.1:{port}"
    command = [nginx, "-p", str(directory), "-c", str(directory / "nginx.conf")]
    stack.enter_context(Process("nginx", command, directory)).wait_until(lambda: answers(url))
    return url


def start_redis(stack: ExitStack, directory: Path) -> str:
    """Redis that syncs each command to its disk, and two workers that push to it."""
    redis = find_program("redis-server")
    require("uvicorn", "uvloop", "httptools", "redis")
    redis_port, port = free_port(), free_port()
    # No snapshots and no rewriting of the log: they would only slow the peer down.
    durable = ["--appendonly", "yes", "--appendfsync", "always", "--save", "", "--auto-aof-rewrite-percentage", "0"]
    where = ["--bind", "127.0.0.1", "--port", str(redis_port), "--dir", str(directory), "--daemonize", "no"]
    server = stack.enter_context(Process("redis", [redis, *where, *durable], directory))
    server.wait_until(lambda: listens(redis_port))
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "BENCH_REDIS_PORT": str(redis_port)}
    url = f"http://127.0.0.1:{port}"
    command = _uvicorn("push", "--host", "127.0.0.1", "--port", str(port), "--workers", "2")
    stack.enter_context(Process("workers", command, directory, environment)).wait_until(lambda: answers(url))
    return url
