"""What the supervisor says itself, and the count of what anybody has said."""

from __future__ import annotations

from deora.errors import Problem
from deora.gateway.balancer import RoundRobin, Server
from deora.gateway.records import Records
from deora.gateway.replies import Replies
from deora.gateway.requests import Request, Worker
from deora.gateway.runs import Runs
from deora.gateway.sticky import ByCookie
from deora.observe.metrics import Metrics
from deora.wire.answers import answer
from tests.fakes.clock import ManualClock
from tests.fakes.star import KeptLink, incoming, received


class Bench:
    def __init__(self) -> None:
        self.clock, self.metrics = ManualClock(), Metrics()
        runs = Runs(RoundRobin(), ByCookie())
        runs.workers["primary"] = Worker("primary", b"primary", 1, KeptLink())
        runs.update([Server("primary", 1, 1)])
        self.records = Records()
        self.replies = Replies(self.metrics, self.clock.monotonic_s, runs, self.records)

    def request(self, method: str = "PUT", target: str = "/v1/documents/a/b", **more: object) -> Request:
        made = incoming(method, target, **more)  # type: ignore[arg-type]
        return Request(1, made, b"r-1", self.clock.monotonic_s())


def test_a_write_is_answered_by_the_stores_result() -> None:
    bench = Bench()
    for status, path, replication, location in (
        (201, "a/b", b"done", "/v1/documents/a/b"),
        (200, "a/b", b"pending", None),
    ):
        request = bench.request()
        bench.replies.write(request, [status, 7, "e-7", path, b'{"commit":7'], replication)
        [told] = received(request.incoming)
        assert (told.status, told.json["replication"]) == (status, replication.decode())
        assert told.headers["etag"] == '"e-7"'
        assert told.headers.get("location") == location


def test_a_refusal_is_a_problem_and_counts_for_who_made_it() -> None:
    bench = Bench()
    request = bench.request()
    bench.clock.advance(0.5)
    bench.replies.refuse(request, Problem("conflict", "no"))
    [told] = received(request.incoming)
    assert (told.status, told.json["detail"], told.headers["x-request-id"]) == (409, "no", "r-1")
    assert bench.metrics.slots["supervisor"].codes == {409: 1}
    assert bench.metrics.slots["supervisor"].sum_s == 0.5


def test_an_answer_is_sent_as_it_is_and_names_the_worker_to_one_who_sticks() -> None:
    bench = Bench()
    for slot, cookie in (("primary", b"SERVERID=primary"), ("gone", b"")):
        request = bench.request(close=True)
        request.slot, request.incoming.client = slot, b""
        bench.replies.finish(request, 200, answer(200, b"x", server=b"primary", request_id=b"r"))
        [told] = received(request.incoming)
        assert (told.content, told.closes) == (b"x", True)
        assert cookie in request.incoming.lines
        assert bool(cookie) == bool(request.incoming.lines)
