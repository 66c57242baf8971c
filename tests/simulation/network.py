"""The network between the replayers and an upstream, and the upstream behind it.

Each call is a request that travels, takes effect (or not) at the upstream at one moment, and an answer that travels
back. The two ways fail apart from each other: a request can be lost, or come so late that its caller has long given up;
it can come twice, the second time whenever it likes; an answer can be lost, at once or as silence that only the
caller's deadline ends. Requests of one caller or of several overtake each other. What is on its way is the network's:
it arrives although its caller is dead, beside those of the next replayer. The upstream itself goes down and comes back
with what it had; what it had not yet answered then is not answered.

The server is `tests.fakes.upstream.FakeUpstream`, which the contract suite holds to the contract.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from deora.documents.writes import decode_writes
from deora.upstream.base import Cursor, CursorKey, Delivery, Failure, Names, Outcome, Page, Unauthorised, Unclear
from tests.fakes.upstream import FakeUpstream
from tests.simulation.world import Violation, World

T = TypeVar("T")

# How late a request may still come: mostly soon, and now and then behind every deadline.
LATE_S = 3.0
LATEST_S = 35.0

# What a client writes into each set, create and update, so that it can be told from all others.
_TOKEN = re.compile(rb"t-\d{6}")


@dataclass(slots=True)
class Weather:
    """How likely it is that this happens to a call."""

    lost: float = 0.0
    unanswered: float = 0.0
    late: float = 0.0
    doubled: float = 0.0
    silent: float = 0.0
    slow_s: float = 0.02
    """a trip takes up to this long"""


class Network:
    """The ways to one upstream."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.server = FakeUpstream()
        self.weather = Weather()
        self.under_way = 0
        self.is_up = True
        self.lives = 0
        self.pulls = 0
        """how often changes were asked for and shown"""
        self.unauthorised = False
        self._known: dict[str, Delivery] = {}

    def heal(self) -> None:
        """From now on all goes well; what is under way still arrives when it likes."""
        self.weather, self.is_up, self.unauthorised = Weather(), True, False
        self.server.refused.clear()

    def go_down(self) -> None:
        """The upstream crashes. What took effect stays."""
        self.is_up = False
        self.lives += 1

    def come_up(self) -> None:
        """And is there again."""
        self.is_up = True

    def write_as_another_program(self, path: str, data: bytes | None) -> None:
        """Changes a document at the upstream behind the box's back."""
        self.server.put(path, data)

    # -- calls

    async def call(
        self, what: str, serve: Callable[[], Coroutine[Any, Any, T]], delivery: Delivery | None = None
    ) -> Any:
        """One call: what its caller learns of it."""
        world, weather = self.world, self.weather
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        trip_s = world.dice.random() * weather.slow_s
        fate = self._fate()
        world.note(self.name, f"{what} is {fate}" if fate else what)
        if delivery is not None:
            self._check_identical(delivery)
        if fate == "lost":
            self._tell(answer, trip_s, Unclear("the connection was lost"))
        elif fate == "late":
            self._tell(answer, trip_s, Unclear("the connection was reset"))
            self._travel(self._late_s(), what, serve, None)
        elif fate == "silent":
            if world.chance(0.5):
                self._travel(self._late_s(), what, serve, None)
        elif fate == "unanswered":
            self._travel(trip_s, what, serve, None)
            self._tell(answer, 2 * trip_s, Unclear("the answer was lost"))
        else:
            self._travel(trip_s, what, serve, answer)
            if fate == "doubled":
                self._travel(self._late_s(), f"{what} again", serve, None)
        return await answer

    def _fate(self) -> str:
        draw = self.world.dice.random()
        for fate in ("lost", "unanswered", "late", "doubled", "silent"):
            draw -= getattr(self.weather, fate)
            if draw < 0:
                return fate
        return ""

    def _late_s(self) -> float:
        return self.world.dice.random() * (LATE_S if self.world.chance(0.9) else LATEST_S)

    def _travel(
        self, trip_s: float, what: str, serve: Callable[[], Coroutine[Any, Any, T]], answer: asyncio.Future[Any] | None
    ) -> None:
        self.under_way += 1
        self.world.after(trip_s, lambda: self._arrive(what, serve, answer))

    def _arrive(
        self, what: str, serve: Callable[[], Coroutine[Any, Any, T]], answer: asyncio.Future[Any] | None
    ) -> None:
        self.under_way -= 1
        back_s = self.world.dice.random() * self.weather.slow_s
        result: Any
        if not self.is_up:
            result = Unclear("connection refused")
        elif self.unauthorised:
            result = Unauthorised("the credentials are refused")
        else:
            result = drive(serve())
        self.world.note(self.name, f"{what} -> {_short(result)}")
        if answer is not None:
            life = self.lives

            def arrive_back() -> None:
                if not answer.done():
                    answer.set_result(result if life == self.lives else Unclear("the connection was reset"))

            self.world.after(back_s, arrive_back)

    def _tell(self, answer: asyncio.Future[Any], delay_s: float, outcome: Unclear) -> None:
        self.world.after(delay_s, lambda: None if answer.done() else answer.set_result(outcome))

    def _check_identical(self, delivery: Delivery) -> None:
        """A batch is fixed before it is sent: every copy of it is the same."""
        known = self._known.setdefault(delivery.batch_id, delivery)
        if (known.payloads, known.expected_seq) != (delivery.payloads, delivery.expected_seq):
            raise Violation(f"{self.name}: the batch {delivery.batch_id} was sent with two contents")

    # -- what the judge asks

    def applied(self) -> dict[str, list[str]]:
        """The log of the upstream: the tokens of the writes that took effect, by document, in order."""
        tokens: dict[str, list[str]] = {}
        for _, payload in self.server.applied:
            for path, token in tokens_of(payload):
                tokens.setdefault(path, []).append(token)
        return tokens


class Connection:
    """One replayer's client of an upstream: `deora.upstream.base.Upstream`."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._server = network.server

    async def read_cursor(self, key: CursorKey) -> Cursor | Unclear | Unauthorised | None:
        """See `Upstream.read_cursor`."""
        cursor: Cursor | Unclear | Unauthorised | None = await self._network.call(
            "cursor", lambda: self._server.read_cursor(key)
        )
        return cursor

    async def apply(self, delivery: Delivery) -> Outcome:
        """See `Upstream.apply`."""
        what = f"apply {delivery.batch_id}#{delivery.seq} of {len(delivery.payloads)}"
        outcome: Outcome = await self._network.call(what, lambda: self._server.apply(delivery), delivery)
        return outcome

    async def take_over(self, key: CursorKey, taker: str, predecessor: str | None = None) -> Cursor | Failure:
        """See `Upstream.take_over`."""
        cursor: Cursor | Failure = await self._network.call(
            "take over", lambda: self._server.take_over(key, taker, predecessor)
        )
        return cursor

    async def read_documents(self, key: CursorKey, paths: list[str]) -> Page | Failure:
        """See `Upstream.read_documents`."""
        page: Page | Failure = await self._network.call(
            f"read {' '.join(paths)}", lambda: self._server.read_documents(key, paths)
        )
        return page

    async def list_documents(self, key: CursorKey, collection: str, after: str | None, limit: int) -> Page | Failure:
        """See `Upstream.list_documents`."""
        page: Page | Failure = await self._network.call(
            f"list {collection}", lambda: self._server.list_documents(key, collection, after, limit)
        )
        return page

    async def list_changes(self, key: CursorKey, collection: str, since: str, limit: int) -> Page | Failure:
        """See `Upstream.list_changes`."""
        page: Page | Failure = await self._network.call(
            f"changes {collection}", lambda: self._server.list_changes(key, collection, since, limit)
        )
        self._network.pulls += isinstance(page, Page)
        return page

    async def list_names(self, collection: str, after: str | None, limit: int) -> Names | Failure:
        """See `Upstream.list_names`."""
        names: Names | Failure = await self._network.call(
            f"names {collection}", lambda: self._server.list_names(collection, after, limit)
        )
        return names

    async def close(self) -> None:
        """See `Upstream.close`."""


def tokens_of(payload: bytes) -> list[tuple[str, str]]:
    """(document, token) of each write of an entry that carries a token; a delete has none."""
    return [
        (write.path, token[0].decode())
        for write in decode_writes(payload)
        if write.data is not None and (token := _TOKEN.search(write.data)) is not None
    ]


def drive(work: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine that waits for nothing to its end: what the upstream does takes effect at one moment."""
    try:
        while True:
            work.send(None)
    except StopIteration as end:
        result: T = end.value
        return result


def _short(result: object) -> str:
    if isinstance(result, Cursor):
        return f"{result.seq} {result.batch_id}"
    if isinstance(result, Page):
        return f"{len(result.copies)} copies at {result.seq}"
    return type(result).__name__ if not isinstance(result, Unclear) else f"Unclear: {result.message}"
