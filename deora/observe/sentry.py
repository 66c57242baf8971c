"""Alerts and errors to Sentry. The SDK makes the envelope and knows the address; the sending is ours, since its own
gives up what does not arrive. It is imported with the first event: 0.3 s and 20 MB."""

from __future__ import annotations

from typing import Any, Final

from deora import __version__
from deora.observe.posting import Posted, place, post
from deora.observe.webhook import Event

_LEVELS: Final = {"critical": "error", "warning": "warning", "error": "error"}


class Sentry:
    """A target of alerts and errors."""

    name = "sentry"

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self.place = place(dsn)

    def takes(self, _: Event) -> bool:
        """Whether it is sent events of this kind: all."""
        return True

    def send(self, event: Event) -> Posted:
        """Sends one. Raises DeliveryError."""
        url, authorization, envelope = enveloped(self._dsn, event)
        headers = {"X-Sentry-Auth": authorization, "Content-Type": "application/x-sentry-envelope"}
        return post(url, envelope, headers)


def enveloped(dsn: str, event: Event) -> tuple[str, str, bytes]:
    """Where an event goes, by what authorization, and its envelope."""
    from sentry_sdk import Client
    from sentry_sdk.consts import EndpointType
    from sentry_sdk.envelope import Envelope
    from sentry_sdk.transport import Transport

    made: list[Envelope] = []

    class Kept(Transport):
        def capture_envelope(self, envelope: Envelope) -> None:
            made.append(envelope)

    client = Client(
        dsn,
        transport=Kept,
        default_integrations=False,
        auto_enabling_integrations=False,
        release=f"deora@{__version__}",
        server_name=event["server"],
        send_client_reports=False,
    )
    try:
        client.capture_event(_event(event))
        parsed = client.transport.parsed_dsn if client.transport is not None else None
    finally:
        client.close()
    assert parsed is not None
    auth = parsed.to_auth(f"deora/{__version__}")
    return auth.get_api_url(EndpointType.ENVELOPE), auth.to_header(), made[0].serialize()


def _event(event: Event) -> Any:
    return {
        # The same where it is sent twice: Sentry keeps one.
        "event_id": event["id"],
        "timestamp": event["time"],
        "level": "info" if event["event"] in ("cleared", "test") else _LEVELS[event["severity"]],
        "logger": "deora.alerts" if event["event"] != "error" else event["alert"],
        "message": f"{event['alert']}: {event['detail']}",
        # One issue for each kind of alert of each box, whatever its figures.
        "fingerprint": [event["server"], event["alert"], event["subject"]],
        "tags": {"alert": event["alert"], "event": event["event"], "subject": event["subject"] or "-"},
        "extra": {"hint": event["hint"]},
    }
