"""A proxy in front of a PostgreSQL that loses the answers of some commits, after the server has committed."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress

# A simple query's message: its kind, its length, its text, a NUL.
COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"


class LossyProxy:
    """Listens on `port`. The answer of a commit is lost with this probability, and its connection with it."""

    def __init__(self, target_port: int, lost: float, seed: int) -> None:
        self._target_port = target_port
        self._lost = lost
        self._dice = random.Random(seed)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.commits = 0
        self.losses = 0

    @property
    def port(self) -> int:
        """Where it listens on 127.0.0.1."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def __aenter__(self) -> LossyProxy:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_connection("127.0.0.1", self._target_port)
        back = asyncio.create_task(self._copy(theirs, writer))
        try:
            while data := await reader.read(65536):
                losing = False
                if data.endswith(COMMIT):
                    self.commits += 1
                    losing = self._dice.random() < self._lost
                if losing:
                    self.losses += 1
                    back.cancel()
                    await asyncio.wait({back})
                ours.write(data)
                if losing:
                    # Its answer says that the server has committed; nobody else will hear of it.
                    await theirs.read(65536)
                    return
        finally:
            back.cancel()
            await asyncio.wait({back})
            for one in (writer, ours):
                with suppress(OSError):
                    one.close()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
            writer.close()
