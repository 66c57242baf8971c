"""The thread that tells people: it sends what it is given, follows error.log, and holds up nobody."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deora.config.schema import Config
from deora.observe.courier import FILE
from deora.observe.lines import JsonLines
from deora.replay import alerting
from deora.replay.alerting import MOST_ERRORS, Alerting, behind, targets_of, told
from tests.fakes.receiver import Receiver

DISK = ["disk-low", "", "warning", "5 bytes are free", "make room", 0]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as found:
        yield found


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Looks at error.log without a pause; at the end no thread is left."""
    monkeypatch.setattr(alerting, "LOOK_S", 0.01)
    yield
    for thread in threading.enumerate():
        if thread.name == "alerts":
            thread.join(10)
            assert not thread.is_alive()


def config(receiver: Receiver | None, *, sentry: bool = False) -> Config:
    wanted: dict[str, Any] = {}
    if receiver is not None:
        address = receiver.url.replace("//", "//k@") + "/1" if sentry else receiver.url
        wanted["sentry_dsn" if sentry else "webhook"] = address
    return Config.from_wire({"operations": {"alerts": wanted}})


def until(holds: Callable[[], Any]) -> None:
    end_s = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end_s
        threading.Event().wait(0.005)


def error(message: str) -> str:
    return JsonLines("store").format(logging.LogRecord("deora.store", logging.ERROR, "", 1, message, None, None))


def test_an_alert_reaches_the_webhook(receiver: Receiver, tmp_path: Path) -> None:
    made = Alerting(config(receiver), tmp_path)
    made.take("bar", [DISK], True)
    until(lambda: receiver.posts)
    made.stop()
    assert (receiver.posts[0].json["alert"], receiver.posts[0].json["server"]) == ("disk-low", "bar")
    until(lambda: json.loads((tmp_path / FILE).read_text())["waiting"] == [])


def test_what_waits_from_before_is_sent_without_being_asked(receiver: Receiver, tmp_path: Path) -> None:
    first = Alerting(config(receiver), tmp_path)
    receiver.answers = [503]
    first.take("bar", [DISK], True)
    until(lambda: receiver.posts)
    first.stop()
    second = Alerting(config(receiver), tmp_path)
    until(lambda: len(receiver.posts) > 1)
    second.stop()
    assert receiver.posts[0].json["id"] == receiver.posts[1].json["id"]


def test_a_test_comes_back_to_the_loop(receiver: Receiver, tmp_path: Path) -> None:
    made = Alerting(config(receiver), tmp_path)
    [row] = asyncio.run(made.test("bar"))
    made.stop()
    assert (row["sent"], row["place"]) == (True, receiver.url + "/***")


def test_where_nobody_is_to_be_told_there_is_no_thread(tmp_path: Path) -> None:
    made = Alerting(config(None), tmp_path)
    made.take("bar", [DISK], True)
    made.stop()
    assert not [thread for thread in threading.enumerate() if thread.name == "alerts"]
    assert not (tmp_path / FILE).exists()


def test_errors_of_the_log_reach_sentry_each_once_also_over_a_restart(receiver: Receiver, tmp_path: Path) -> None:
    log = tmp_path / "logs" / "error.log"
    log.parent.mkdir()
    log.write_text(error("of an earlier day") + "\n")

    def sent() -> list[str]:
        found = []
        for post in receiver.posts:
            found.append(json.loads(post.body.split(b"\n")[2])["message"])
        return found

    def write(message: str) -> None:
        with log.open("a") as file:
            file.write(error(message) + "\n")

    first = Alerting(config(receiver, sentry=True), tmp_path)
    # Only behind its first look it knows what is new.
    asyncio.run(first.test("bar"))
    write("one")
    until(lambda: "deora.store: one" in sent())
    first.stop()
    until(lambda: json.loads((tmp_path / FILE).read_text())["waiting"] == [])
    write("the last word of the replayer")
    second = Alerting(config(receiver, sentry=True), tmp_path)
    write("two")
    until(lambda: "deora.store: two" in sent())
    second.stop()
    assert sent()[1:] == ["deora.store: one", "deora.store: the last word of the replayer", "deora.store: two"]


def test_a_flood_of_errors_is_counted(receiver: Receiver, tmp_path: Path) -> None:
    log = tmp_path / "logs" / "error.log"
    log.parent.mkdir()
    made = Alerting(config(receiver, sentry=True), tmp_path)
    asyncio.run(made.test("bar"))
    log.write_text("".join(error(f"fault {number}") + "\n" for number in range(100)))
    until(lambda: len(receiver.posts) == 1 + MOST_ERRORS + 1)
    made.stop()
    assert b"95 more errors" in receiver.posts[-1].body


def test_who_is_told(tmp_path: Path) -> None:
    assert targets_of(config(None)) == []
    wanted = {"webhook": "https://hooks.example/x", "sentry_dsn": "https://k@s.example/1"}
    found = targets_of(Config.from_wire({"operations": {"alerts": wanted}}))
    assert [target.name for target in found] == ["webhook", "sentry"]
    assert not list(tmp_path.iterdir())


def test_what_follows_the_last_error_that_was_seen_to() -> None:
    lines = [b"a", b"b", b"c"]
    assert [behind(lines, last) for last in ("a", "c", "x", "")] == [[b"b", b"c"], [], [], []]


def test_what_a_line_of_the_log_tells() -> None:
    assert told(error("failed").encode()) == ("deora.store", "store", "failed")
    assert told(b'{"logger": "x", "process": "y", "message": "m", "exception": "Traceback"}') == (
        "x",
        "y",
        "m\nTraceback",
    )
    assert told(b"torn\xff") == ("deora", "", "torn\ufffd")
