"""Sentry gets envelopes that its own SDK reads, at the address that the DSN means."""

from __future__ import annotations

import pytest
from sentry_sdk.envelope import Envelope

from deora.observe.posting import DeliveryError
from deora.observe.sentry import Sentry
from tests.fakes.receiver import Receiver
from tests.unit.observe.test_webhook import EVENT


def test_an_event_arrives_as_an_envelope() -> None:
    with Receiver() as receiver:
        sentry = Sentry(receiver.url.replace("//", "//publickey@") + "/42")
        assert sentry.send(EVENT).status == 200
        [found] = receiver.posts
    assert found.target == "/api/42/envelope/"
    assert "sentry_key=publickey" in found.headers["x-sentry-auth"]
    assert found.headers["content-type"] == "application/x-sentry-envelope"
    event = Envelope.deserialize(found.body).get_event()
    assert event is not None
    assert (event["event_id"], event["level"], event["server_name"]) == ("a" * 32, "warning", "bar")
    assert event["message"] == "disk-low: 5 bytes are free"
    assert event["fingerprint"] == ["bar", "disk-low", ""]
    assert event["tags"] == {"alert": "disk-low", "event": "raised", "subject": "-"}
    assert sentry.place == receiver.url + "/***"


@pytest.mark.parametrize(
    ("event", "severity", "level"),
    [
        ("raised", "critical", "error"),
        ("again", "warning", "warning"),
        ("cleared", "critical", "info"),
        ("test", "warning", "info"),
        ("error", "error", "error"),
    ],
)
def test_levels(event: str, severity: str, level: str) -> None:
    with Receiver() as receiver:
        sentry = Sentry(receiver.url.replace("//", "//k@") + "/1")
        assert sentry.takes(EVENT | {"event": event})
        sentry.send(EVENT | {"event": event, "severity": severity})
        [found] = receiver.posts
    sent = Envelope.deserialize(found.body).get_event()
    assert sent is not None
    assert sent["level"] == level


def test_a_refusal_is_told_without_the_key() -> None:
    with Receiver() as receiver:
        receiver.answers = [403]
        with pytest.raises(DeliveryError) as caught:
            Sentry(receiver.url.replace("//", "//publickey@") + "/42").send(EVENT)
    assert (caught.value.status, "publickey" in caught.value.message) == (403, False)
