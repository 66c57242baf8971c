"""Change streams of a real instance: what they show, where they begin, and what they live through."""

from __future__ import annotations

import hashlib
import itertools
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from bench.instance import Instance
from tests.fakes.killer import children, kill
from tests.fakes.subscribers import Subscriber, Subscribers, commits_of, wait_until
from tests.fakes.tills import Timed, p99_ms

Start = Callable[..., Instance]


def put(one: Instance, path: str, data: object) -> int:
    """Sets a document; the commit's number."""
    answer = one.request("PUT", f"/v1/documents/{path}", data)
    assert answer.status in (200, 201), answer.text
    return int(answer.json["commit"])


def ids_of(subscriber: Subscriber, count: int) -> list[str]:
    """The ids of its events, once there are so many."""
    wait_until(lambda: len(subscriber.events) >= count and subscriber.last_id, f"{count} events")
    return [event.id for event in subscriber.events]


def shown(subscriber: Subscriber) -> list[tuple[str, object]]:
    """Path and data of the changes, `...` where a later commit has them."""
    return [
        (event.data["path"], ... if event.data.get("superseded") else event.data["data"])
        for event in subscriber.events
        if event.kind == "change"
    ]


@contextmanager
def writing(one: Instance, per_s: float, size_bytes: int = 100) -> Iterator[list[tuple[int, float]]]:
    """Writes at this rate meanwhile; the commits, and when each was acknowledged."""
    commits: list[tuple[int, float]] = []
    stop = threading.Event()

    def run() -> None:
        due_s = time.monotonic()
        for number in itertools.count():
            if stop.is_set():
                return
            commit = put(one, f"orders/o{number % 50}", {"n": number, "text": "x" * size_bytes})
            commits.append((commit, time.monotonic()))
            due_s = max(due_s + 1 / per_s, time.monotonic() - 1)
            time.sleep(max(0.0, due_s - time.monotonic()))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield commits
    finally:
        stop.set()
        thread.join(40)
        assert not thread.is_alive()


def test_every_commit_gives_its_events_in_order(instance: Start) -> None:
    one = instance()
    with Subscribers(one.url) as streams:
        stream = streams.open()
        assert stream.status == 200
        assert b"Content-Type: text/event-stream" in stream.head
        bills = streams.open("/v1/changes?collections=bills,rooms")
        items = streams.open("/v1/changes?collections=items")
        put(one, "orders/o1", {"n": 1, "at": {"$timestamp": "2026-01-31T12:00:00.123456Z"}})
        put(one, "bills/b1", {"sum": 2.5})
        put(one, "orders/o1/items/i1", {"n": 3})
        assert one.request("DELETE", "/v1/documents/orders/o1").status == 200
        writes = [
            {"set": {"path": "bills/b2", "data": {}}},
            {"update": {"path": "bills/b1", "data": {"sum": {"$increment": 1}}}},
            {"delete": {"path": "orders/none"}},
        ]
        assert one.request("POST", "/v1/documents:commit", {"writes": writes}).status == 200
        wait_until(lambda: len(stream.events) == 7 and len(bills.events) == 3, "all events are here")
        assert shown(stream) == [
            ("orders/o1", {"n": 1, "at": {"$timestamp": "2026-01-31T12:00:00.123456Z"}}),
            ("bills/b1", {"sum": 2.5}),
            ("orders/o1/items/i1", {"n": 3}),
            ("orders/o1", None),
            ("bills/b2", {}),
            ("bills/b1", {"sum": 3.5}),
            ("orders/none", None),
        ]
        epoch = one.request("GET", "/v1/documents/bills/b1").json["version"].partition("-")[0]
        ids = ["1", "2", "3", "4", "5.1", "5.2", "5"]
        assert [event.id for event in stream.events] == [f"{epoch}-{each}" for each in ids]
        assert shown(bills) == [("bills/b1", {"sum": 2.5}), ("bills/b2", {}), ("bills/b1", {"sum": 3.5})]
        assert [event.id for event in bills.events] == [f"{epoch}-{each}" for each in ("2", "5.1", "5.2")]
        assert shown(items) == [("orders/o1/items/i1", {"n": 3})]
        document = one.get("/v1/documents/bills/b1")
        data = bills.events[-1].data
        assert {name: data[name] for name in ("path", "version", "updateTime", "data")} == {
            name: document[name] for name in ("path", "version", "updateTime", "data")
        }


def test_a_stream_goes_on_where_another_ended(instance: Start) -> None:
    one = instance()
    for number in range(4):
        put(one, "orders/o1", {"n": number})
    writes = [{"set": {"path": f"orders/w{number}", "data": {}}} for number in range(3)]
    assert one.request("POST", "/v1/documents:commit", {"writes": writes}).status == 200
    with Subscribers(one.url) as streams:
        whole = streams.open("/v1/changes?since=0")
        wait_until(lambda: len(whole.events) == 7, "all events are here")
        # Of the earlier commits the document holds nothing any more; they are counted all the same.
        assert shown(whole)[:4] == [("orders/o1", ...)] * 3 + [("orders/o1", {"n": 3})]
        for place in range(7):
            last_id = whole.events[place].id
            by_header = streams.open("/v1/changes?since=0", {"Last-Event-ID": last_id})
            by_query = streams.open(f"/v1/changes?since={last_id}")
            rest = [event.id for event in whole.events[place + 1 :]]
            for stream in (by_header, by_query):
                assert ids_of(stream, len(rest)) == rest
        # Without either it begins now, and an EventSource that breaks before the first event knows where.
        now = streams.open()
        wait_until(lambda: now.last_id == whole.events[-1].id, "it knows its place")
        put(one, "orders/o9", {})
        wait_until(lambda: shown(now) == [("orders/o9", {})], "what is new")


@pytest.mark.parametrize(
    ("target", "last_id", "reason"),
    [
        ("/v1/changes", "zzzzzzzz-1", "epoch"),
        ("/v1/changes?since=99", "", "future"),
        ("/v1/changes", "no id", "unknown"),
    ],
)
def test_what_cannot_be_followed_on_is_read_again(instance: Start, target: str, last_id: str, reason: str) -> None:
    one = instance()
    put(one, "orders/o1", {})
    with Subscribers(one.url) as streams:
        stream = streams.open(target, {"Last-Event-ID": last_id} if last_id else {})
        wait_until(lambda: len(stream.events) == 1, "the resync")
        [event] = stream.events
        assert (event.kind, event.data["reason"], event.commit) == ("resync", reason, 1)
        put(one, "orders/o2", {})
        wait_until(lambda: shown(stream) == [("orders/o2", {})], "it goes on")


def test_what_was_pruned_is_read_again(instance: Start) -> None:
    one = instance(queue={"retention_hours": 0})
    for number in range(5):
        put(one, f"orders/o{number}", {})
    with Subscribers(one.url) as streams:

        def is_pruned() -> bool:
            stream = streams.open("/v1/changes?since=0")
            wait_until(lambda: stream.events, "an event")
            return stream.events[0].kind == "resync" and stream.events[0].data["reason"] == "pruned"

        wait_until(is_pruned, "done entries are pruned", 100)
        late = streams.open("/v1/changes?since=5")
        put(one, "orders/o9", {})
        wait_until(lambda: shown(late) == [("orders/o9", {})], "the last commit can still be followed on")


def test_tokens_methods_and_limits(instance: Start) -> None:
    tokens = [{"name": "r", "hash": "sha256:" + hashlib.sha256(b"reader").hexdigest(), "scope": "read"}]
    one = instance(security={"tokens": tokens, "limits": {"streams": 2}})
    with Subscribers(one.url) as streams:
        assert streams.open().status == 401
        assert streams.open(headers={"Authorization": "Bearer wrong"}).status == 401
        reader = {"Authorization": "Bearer reader"}
        assert streams.open(headers=reader, method="POST").status == 405
        assert streams.open("/v1/changes?since=x", reader).status == 400
        assert streams.open("/v1/changes?collections=a/b", reader).status == 400
        assert streams.open("/v1/changes?other=1", reader).status == 400
        head = streams.open(headers=reader, method="HEAD")
        wait_until(lambda: head.ended, "HEAD ends")
        assert (head.status, head.body) == (200, b"")
        held = [streams.open(headers=reader) for _ in range(2)]
        refused = streams.open(headers=reader)
        assert refused.status == 503
        assert b"Retry-After: " in refused.head
        held[0].sock.shutdown(2)
        wait_until(lambda: streams.open(headers=reader).status == 200, "there is room again")


def test_curl_and_http_1_0(instance: Start) -> None:
    one = instance()
    put(one, "orders/o1", {"n": 1})
    command = ["curl", "-sN", "-m", "2", f"{one.url}/v1/changes?since=0"]
    printed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    assert "retry: 1000\n\n" in printed
    [data] = [line for line in printed.splitlines() if line.startswith("data: ")]
    assert json.loads(data[6:])["data"] == {"n": 1}
    with Subscribers(one.url) as streams:
        old = streams.open("/v1/changes?since=0", version="1.0")
        wait_until(lambda: shown(old) == [("orders/o1", {"n": 1})], "the event")
        assert b"chunked" not in old.head


def test_streams_end_cleanly_and_go_on_after_a_restart(instance: Start) -> None:
    one = instance()
    with Subscribers(one.url) as streams:
        stream = streams.open()
        put(one, "orders/o1", {})
        wait_until(lambda: len(stream.events) == 1, "the event")
        assert one.terminate() == 0
        wait_until(lambda: stream.ended, "the end")
        assert stream.ended_cleanly
    two = instance(on=one)
    put(two, "orders/o2", {})
    with Subscribers(two.url) as streams:
        again = streams.open(headers={"Last-Event-ID": stream.last_id})
        wait_until(lambda: shown(again) == [("orders/o2", {})], "what came meanwhile, once")


def test_a_drained_worker_hands_its_streams_over(instance: Start) -> None:
    one = instance()
    with Subscribers(one.url) as streams, writing(one, 100) as commits:
        every = [streams.open("/v1/changes?since=0") for _ in range(5)]
        for slot in ("primary", "secondary", "primary"):
            for action in ("drain", "ready"):
                assert one.request("POST", f"/admin/workers/{slot}:{action}").status == 200
        count = len(commits)
        wait_until(lambda: all(len(commits_of(each)) > count for each in every), "they go on")
        for each in every:
            found = commits_of(each)
            assert found == list(range(1, len(found) + 1))


def test_a_large_commit_is_no_reason_to_read_again(instance: Start) -> None:
    one = instance()
    with Subscribers(one.url) as streams:
        every = [streams.open() for _ in range(3)]
        writes = [{"set": {"path": f"orders/o{number}", "data": {"text": "x" * 20_000}}} for number in range(190)]
        assert one.request("POST", "/v1/documents:commit", {"writes": writes}).status == 200
        old = streams.open("/v1/changes?since=0")
        for each in (*every, old):
            wait_until(lambda one=each: len(one.events) == 190, "all documents")
            assert [path for path, _ in shown(each)] == [write["set"]["path"] for write in writes]


def streams_under_kills(one: Instance, count: int, seconds: float, per_s: float) -> list[str]:
    """Streams while workers and store are killed in turns; what is wrong with any."""
    with Subscribers(one.url) as streams:
        every = [streams.open(source=f"127.0.0.{2 + number % 4}") for number in range(count - 1)]
        other = streams.open("/v1/changes?collections=bills")
        with writing(one, per_s) as commits:
            deadline_s = time.monotonic() + seconds
            for name in itertools.cycle(["primary", "store", "secondary"]):
                if time.monotonic() > deadline_s:
                    break
                time.sleep(0.4)
                pid = children(one).get(name)
                if pid is not None:
                    kill(pid)
        written = [commit for commit, _ in commits]
        last = written[-1]
        wait_until(lambda: all(commits_of(each)[-1:] == [last] for each in every), "the last commit is everywhere", 60)
        put(one, "bills/b1", {})
        wait_until(lambda: shown(other) == [("bills/b1", {})], "what the filter lets through")
        wait_until(lambda: all(len(commits_of(each)) == last + 1 for each in every), "it is everywhere, too")
        assert written == sorted(written)
        wanted = list(range(1, last + 2))
        print(f"{len(written)} commits, {count} streams")
        return [f"stream {number} differs" for number, each in enumerate(every) if commits_of(each) != wanted] + [
            f"stream {number} ended" for number, each in enumerate([*every, other]) if each.ended
        ]


def test_streams_live_through_kills(instance: Start) -> None:
    """F15's streams: workers and store killed under load, every commit once and in order, and no stream notices."""
    assert streams_under_kills(instance(), count=20, seconds=4, per_s=100) == []


@pytest.mark.torture
def test_50_streams_live_through_a_minute_of_kills(instance: Start) -> None:
    """The same with F15's number of streams."""
    assert streams_under_kills(instance(), count=50, seconds=60, per_s=200) == []


def slow_readers(one: Instance, count: int, deaf: int, per_s: float, seconds: float, size_bytes: int) -> float:
    """`deaf` of `count` streams do not read; the others' p99 in ms, from the acknowledgement to the event."""
    with Subscribers(one.url) as streams:
        sources = [f"127.0.0.{2 + number % 4}" for number in range(count)]
        dumb = [streams.open(reads=False, source=source) for source in sources[:deaf]]
        awake = [streams.open(source=source) for source in sources[deaf:]]
        with writing(one, per_s, size_bytes) as commits:
            time.sleep(seconds)
        last = commits[-1][0]
        wait_until(lambda: all(commits_of(each)[-1:] == [last] for each in awake), "all that read have all", 60)
        acknowledged = dict(commits)
        late = [max(0.0, event.at_s - acknowledged[event.commit]) for each in awake for event in each.events]
        for each in dumb:
            streams.read(each)
        wait_until(lambda: all(any(e.kind == "resync" for e in each.events) for each in dumb), "resync for the slow")
        put(one, "bills/last", {})
        wait_until(lambda: all(each.events[-1].data.get("path") == "bills/last" for each in dumb), "they go on")
        for each in awake:
            assert commits_of(each)[:last] == list(range(1, last + 1))
        for each in dumb:
            first = next(index for index, event in enumerate(each.events) if event.kind == "resync")
            resync = each.events[first]
            assert resync.data["reason"] == "slow"
            assert [event.commit for event in each.events[:first]] == list(range(1, first + 1)), (
                "what came before is whole"
            )
            behind = [event.commit for event in each.events[first + 1 :]]
            assert behind == list(range(resync.commit + 1, resync.commit + 1 + len(behind)))
        return p99_ms([Timed(0.0, seconds, 200) for seconds in late])


def test_slow_readers_hold_nobody_up(instance: Start) -> None:
    """F26 in small: streams that are not read get a resync, and the others do not notice."""
    p99 = slow_readers(instance(), count=30, deaf=3, per_s=50, seconds=5, size_bytes=10_000)
    print(f"p99 of 27 streams beside 3 that do not read: {p99:.1f} ms")
    assert p99 < 1000


@pytest.mark.torture
def test_190_streams_beside_10_that_never_read(instance: Start) -> None:
    """F26 with its figures."""
    p99 = slow_readers(instance(), count=200, deaf=10, per_s=20, seconds=20, size_bytes=4000)
    print(f"p99 of 190 streams beside 10 that do not read: {p99:.1f} ms")
    assert p99 < 100
