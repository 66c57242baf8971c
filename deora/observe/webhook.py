"""Alerts to a webhook: one POST each, with a JSON object.

    {"id": "5d0c..", "event": "raised", "alert": "breaker-open", "subject": "primary", "severity": "warning",
     "detail": "primary is out: ..", "hint": "..", "time": "2026-01-31T12:00:00.000Z", "server": "bar", "version": "..",
     "text": "[bar] RAISED breaker-open: primary is out: .. (..)"}

`event` is raised, again (it got worse), cleared or test. `id` is the same where one is sent twice. `text` is what
Slack, Mattermost and the like show.
"""

from __future__ import annotations

from typing import Any

import orjson

from deora.observe.posting import Posted, place, post

Event = dict[str, Any]


class Webhook:
    """A target of alerts."""

    name = "webhook"

    def __init__(self, url: str) -> None:
        self._url = url
        self.place = place(url)

    def takes(self, event: Event) -> bool:
        """Whether it is sent events of this kind: alerts, but not the log's errors."""
        return bool(event["event"] != "error")

    def send(self, event: Event) -> Posted:
        """Sends one. Raises DeliveryError."""
        return post(self._url, orjson.dumps({**event, "text": text(event)}), {})


def text(event: Event) -> str:
    """An event in one line."""
    hint = f" ({event['hint']})" if event["hint"] else ""
    return f"[{event['server']}] {event['event'].upper()} {event['alert']}: {event['detail']}{hint}"
