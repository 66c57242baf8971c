"""The replayer's process: the real `Replayer` on a loop of the world, with the network's clients for upstreams.

Its constructor makes its own clock, randomness and clients; these three names are replaced while it runs. From its
HELLO to its STOP nothing is ours but the loop, the other end of the socket and the other end of the network.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import patch

from deora.config.schema import Config
from deora.config.schema import Upstream as UpstreamSettings
from deora.replay import main as replay_main
from deora.replay.main import Replayer
from deora.upstream.base import Upstream
from tests.simulation.network import Connection, Network
from tests.simulation.sockets import SocketEnd, as_socket
from tests.simulation.world import ProcessLoop, World


def start_replayer(
    world: World, loop: ProcessLoop, end: SocketEnd, config: Config, networks: list[Network], generation: int
) -> None:
    """Starts a replayer that speaks over `end`. The process ends with its loop."""
    clients = iter([Connection(network) for network in networks])

    def connect(_: UpstreamSettings, __: Path) -> Upstream:
        return next(clients)

    async def serve() -> None:
        replacements: dict[str, Any] = {"connect": connect, "SystemClock": lambda: world.clock, "random": world.dice}
        with patch.multiple(replay_main, **replacements):
            replayer = Replayer(config, Path())
        await replayer.serve(as_socket(end), generation)
        world.note(loop.name, "ended")
        end.close()

    loop.call_soon(lambda: loop.start(serve()))
