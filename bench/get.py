"""Figure (a): GET of a document, beside nginx in front of two workers that answer a constant of the same size."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import Final

from bench.instance import Instance
from bench.measure import Bar, Row, Settings, in_pairs, put_load_on
from bench.peers.servers import NGINX, start_nginx
from bench.processes import BenchError, find_program

TITLE: Final = "GET of a 300-byte document"
CONNECTIONS: Final = (32, 128)
BAR: Final = Bar(1.0)
SIZE_BYTES: Final = 300
PATH: Final = "/v1/documents/bench/one"


def document(size_bytes: int) -> bytes:
    """A JSON object of exactly that size."""
    head, tail = b'{"number":1,"text":"', b'"}'
    return head + b"x" * (size_bytes - len(head) - len(tail)) + tail


def measure(settings: Settings) -> list[Row]:
    """One row for each number of connections. The peer's constant is the very answer that DEORA gives."""
    find_program("wrk")
    directory = settings.directory / "get"
    (directory / "peer").mkdir(parents=True)
    with ExitStack() as stack:
        instance = stack.enter_context(Instance(directory))
        instance.wait_until_ready()
        written = instance.request("PUT", PATH, document(SIZE_BYTES))
        if written.status != 201:
            raise BenchError(f"PUT {PATH} answered {written.status}: {written.text}")
        instance.wait_until_drained()
        ours = f"{instance.url}{PATH}"
        peer = start_nginx(stack, directory / "peer", instance.request("GET", PATH).content)
        return [
            in_pairs(
                settings,
                f"{TITLE}, {connections} connections",
                BAR,
                partial(put_load_on, ours, connections),
                partial(put_load_on, peer, connections),
                NGINX,
            )
            for connections in CONNECTIONS
        ]
