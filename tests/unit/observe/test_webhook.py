"""A webhook gets each alert as JSON, and a line that chats show."""

from __future__ import annotations

from typing import Any

from deora.observe.webhook import Webhook, text
from tests.fakes.receiver import Receiver

EVENT: dict[str, Any] = {
    "id": "a" * 32,
    "event": "raised",
    "alert": "disk-low",
    "subject": "",
    "severity": "warning",
    "detail": "5 bytes are free",
    "hint": "make room",
    "time": "2026-01-31T12:00:00.000Z",
    "server": "bar",
    "version": "1",
}


def test_an_event_arrives_whole() -> None:
    with Receiver() as receiver:
        webhook = Webhook(f"{receiver.url}/hook?token=secret")
        assert webhook.send(EVENT).status == 200
        [found] = receiver.posts
    assert found.json == {**EVENT, "text": "[bar] RAISED disk-low: 5 bytes are free (make room)"}
    assert webhook.place == f"{receiver.url}/***"


def test_errors_of_the_log_are_not_for_it() -> None:
    webhook = Webhook("https://hooks.example/x")
    assert webhook.takes(EVENT)
    assert not webhook.takes(EVENT | {"event": "error"})


def test_without_a_hint() -> None:
    assert text(EVENT | {"hint": "", "event": "cleared"}) == "[bar] CLEARED disk-low: 5 bytes are free"
