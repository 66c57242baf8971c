"""Each change is told once: through outages, restarts of whoever tells, and refusals."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from deora.observe.courier import MOST_WAITING, Courier
from deora.observe.posting import DeliveryError, Posted
from deora.observe.webhook import Event

DISK = ["disk-low", "", "warning", "5 bytes are free", "make room", 0]
DEAD = ["dead-letters", "", "warning", "1 entry", "look", 1]


class Kept:
    """A target that keeps what it gets; `answers` are what it says to the next ones: an error, or None."""

    def __init__(self, name: str = "webhook", *, errors_too: bool = False) -> None:
        self.name = name
        self.place = f"https://{name}.example/***"
        self.errors_too = errors_too
        self.got: list[Event] = []
        self.attempts = 0
        self.answers: list[DeliveryError | None] = []
        self.is_out = False

    def takes(self, event: Event) -> bool:
        return self.errors_too or event["event"] != "error"

    def send(self, event: Event) -> Posted:
        self.attempts += 1
        answer = self.answers.pop(0) if self.answers else None
        if self.is_out or answer is not None:
            raise answer or DeliveryError("nobody answers")
        self.got.append(event)
        return Posted(200, "ok")

    @property
    def told(self) -> list[tuple[str, str]]:
        return [(event["event"], event["alert"]) for event in self.got]


def courier(path: Path, *targets: Kept) -> Courier:
    return Courier(path / "alerts.json", targets, lambda: 1.0, lambda: "2026-01-31T12:00:00.000Z")


def test_what_changes_is_told_once(tmp_path: Path) -> None:
    hook = Kept()
    made = courier(tmp_path, hook)
    for alerts in ([], [DISK], [DISK], [DISK, DEAD], [DEAD], [[*DEAD[:-1], 2]], [DEAD], []):
        made.take("bar", alerts, is_settled=True)
        assert made.deliver(0.0) is None
    assert hook.told == [
        ("raised", "disk-low"),
        ("raised", "dead-letters"),
        ("cleared", "disk-low"),
        ("again", "dead-letters"),
        ("cleared", "dead-letters"),
    ]
    event = hook.got[0]
    assert (event["detail"], event["hint"], event["severity"]) == ("5 bytes are free", "make room", "warning")
    assert (event["server"], event["time"]) == ("bar", "2026-01-31T12:00:00.000Z")
    assert len({each["id"] for each in hook.got}) == 5


def test_a_restart_repeats_nothing_and_forgets_nothing(tmp_path: Path) -> None:
    hook = Kept()
    courier(tmp_path, hook).take("bar", [DISK, DEAD], is_settled=True)
    for alerts in ([], [DISK], [DISK]):
        made = courier(tmp_path, hook)
        # It does not know yet what is over.
        made.take("bar", alerts, is_settled=False)
        made.deliver(0.0)
    assert hook.told == [("raised", "disk-low"), ("raised", "dead-letters")]
    made.take("bar", [DISK], is_settled=True)
    made.deliver(0.0)
    assert hook.told[2:] == [("cleared", "dead-letters")]


def test_what_cannot_be_sent_waits_and_is_sent_once_in_order(tmp_path: Path) -> None:
    hook = Kept()
    hook.is_out = True
    made = courier(tmp_path, hook)
    made.take("bar", [DISK], is_settled=True)
    due = [made.deliver(0.0), made.deliver(0.5), made.deliver(1.0), made.deliver(3.0)]
    assert due == [1.0, 1.0, 3.0, 7.0]
    assert hook.attempts == 3
    made.take("bar", [], is_settled=True)
    again = courier(tmp_path, hook)
    hook.is_out = False
    assert again.deliver(0.0) is None
    assert again.deliver(100.0) is None
    assert hook.told == [("raised", "disk-low"), ("cleared", "disk-low")]
    assert courier(tmp_path, hook).deliver(0.0) is None
    assert len(hook.got) == 2


def test_a_repetition_has_the_same_id(tmp_path: Path) -> None:
    """An answer that was lost: the receiver can tell."""
    ids: list[str] = []

    class Lost(Kept):
        def send(self, event: Event) -> Posted:
            ids.append(event["id"])
            return super().send(event)

    hook = Lost()
    hook.answers = [DeliveryError("the answer was lost")]
    made = courier(tmp_path, hook)
    made.take("bar", [DISK], is_settled=True)
    for now_s in (0.0, 1.0):
        made.deliver(now_s)
    assert len(ids) == 2
    assert len(set(ids)) == 1


def test_pauses_grow_to_a_limit_and_a_wish_is_honoured(tmp_path: Path) -> None:
    hook = Kept()
    hook.is_out = True
    made = courier(tmp_path, hook)
    made.take("bar", [DISK], is_settled=True)
    now_s = 0.0
    for _ in range(30):
        before_s, now_s = now_s, made.deliver(now_s) or 0.0
    assert now_s - before_s == 300
    hook.is_out, hook.answers = False, [DeliveryError("busy", 429, 1000.0)]
    assert made.deliver(now_s) == now_s + 1000


def test_one_target_does_not_wait_for_the_other(tmp_path: Path) -> None:
    hook, sentry = Kept(), Kept("sentry")
    hook.is_out = True
    made = courier(tmp_path, hook, sentry)
    made.take("bar", [DISK], is_settled=True)
    made.deliver(0.0)
    assert (hook.told, sentry.told, len(made)) == ([], [("raised", "disk-low")], 1)
    hook.is_out = False
    made.deliver(9.0)
    assert (len(hook.got), len(sentry.got), len(made)) == (1, 1, 0)


def test_what_is_refused_for_good_holds_up_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    hook = Kept()
    hook.answers = [DeliveryError("no such shape", 422)]
    made = courier(tmp_path, hook)
    made.take("bar", [DISK, DEAD], is_settled=True)
    assert made.deliver(0.0) is None
    assert hook.told == [("raised", "dead-letters")]
    assert "no such shape" in caplog.text


def test_so_many_wait_and_no_more(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    hook = Kept()
    made = courier(tmp_path, hook)
    made.take(
        "bar", [["worker-out", str(number), "warning", "", "", 0] for number in range(MOST_WAITING)], is_settled=True
    )
    made.take("bar", [], is_settled=True)
    assert len(made) == MOST_WAITING
    made.deliver(0.0)
    assert {kind for kind, _ in hook.told} == {"cleared"}
    assert "were given up" in caplog.text


def test_an_outage_is_two_lines_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    hook = Kept()
    hook.is_out = True
    made = courier(tmp_path, hook)
    made.take("bar", [DISK], is_settled=True)
    for now_s in (0.0, 10.0, 20.0):
        made.deliver(now_s)
    hook.is_out = False
    made.deliver(90.0)
    assert [each.levelname for each in caplog.records] == ["WARNING", "INFO"]


def test_a_test_is_sent_at_once_and_not_repeated(tmp_path: Path) -> None:
    hook, sentry = Kept(), Kept("sentry")
    sentry.answers = [DeliveryError("wrong key", 403)]
    made = courier(tmp_path, hook, sentry)
    assert made.test("bar") == [
        {"target": "webhook", "place": "https://webhook.example/***", "sent": True, "status": 200, "detail": "ok"},
        {
            "target": "sentry",
            "place": "https://sentry.example/***",
            "sent": False,
            "status": 403,
            "detail": "wrong key",
        },
    ]
    assert (made.deliver(0.0), hook.told) == (None, [("test", "test")])


def test_errors_go_to_who_takes_them(tmp_path: Path) -> None:
    hook, sentry = Kept(), Kept("sentry", errors_too=True)
    made = courier(tmp_path, hook, sentry)
    made.note_error("bar", "deora.store", "store", "failed")
    made.keep_last_error("the line")
    made.deliver(0.0)
    assert (hook.got, sentry.told) == ([], [("error", "deora.store")])
    assert courier(tmp_path, hook, sentry).last_error == "the line"


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"told": 3, "waiting": []}', b'{"told": {}, "waiting": [[1, 2]]}']
)
def test_a_file_that_cannot_be_read_is_begun_anew(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "alerts.json").write_bytes(content)
    hook = Kept()
    made = courier(tmp_path, hook)
    made.take("bar", [DISK], is_settled=True)
    made.deliver(0.0)
    assert hook.told == [("raised", "disk-low")]
    assert json.loads((tmp_path / "alerts.json").read_bytes())["waiting"] == []


def test_a_target_that_is_gone_is_waited_for_no_more(tmp_path: Path) -> None:
    hook = Kept()
    hook.is_out = True
    courier(tmp_path, hook).take("bar", [DISK], is_settled=True)
    made = courier(tmp_path, Kept("sentry"))
    assert (len(made), made.deliver(0.0)) == (0, None)


def test_on_a_full_disk_it_goes_on_from_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("deora.observe.courier.os.open", full)
    hook = Kept()
    made = courier(tmp_path, hook)
    for _ in range(2):
        made.take("bar", [DISK], is_settled=True)
        made.deliver(0.0)
    assert hook.told == [("raised", "disk-low")]
