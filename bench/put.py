"""Figure (b): durable PUTs, beside two workers that push to Redis with every command synced to the disk.

Measured twice: with the upstream paused, which is the peer's work (accept, make durable, answer), and with the replayer
draining into the sqlite upstream at the same time, which is what an instance does all day and the peer does not.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import Final

from bench.instance import Instance
from bench.measure import Bar, Row, Settings, in_pairs, put_load_on
from bench.peers.servers import REDIS, start_redis
from bench.processes import find_program

TITLE: Final = "durable PUT of a 300-byte document, 64 connections"
CONNECTIONS: Final = 64
BAR: Final = Bar(1.5)
SIZE_BYTES: Final = 300
DOCUMENTS: Final = 20_000
COLLECTION: Final = "/v1/documents/bench"


def measure(settings: Settings) -> list[Row]:
    """One row with the upstream paused, one with the replayer at work."""
    find_program("wrk")
    directory = settings.directory / "put"
    (directory / "peer").mkdir(parents=True)
    with ExitStack() as stack:
        instance = stack.enter_context(Instance(directory))
        instance.wait_until_ready()
        peer = start_redis(stack, directory / "peer")
        ours, theirs = (
            partial(
                put_load_on, url + COLLECTION, CONNECTIONS, method="PUT", size_bytes=SIZE_BYTES, documents=DOCUMENTS
            )
            for url in (instance.url, peer)
        )

        instance.post("/admin/upstreams/primary:pause")
        paused = in_pairs(settings, f"{TITLE}, upstream paused", BAR, ours, theirs, REDIS)
        instance.post("/admin/upstreams/primary:resume")
        instance.wait_until_drained()
        # The peer must not run beside the rest of a drain, so each pair waits until the queue is empty.
        draining = in_pairs(settings, f"{TITLE}, replaying", BAR, ours, theirs, REDIS, instance.wait_until_drained)
        return [paused, draining]
