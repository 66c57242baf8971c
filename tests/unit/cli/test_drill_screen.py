"""The table of the drill, from fixed results."""

from __future__ import annotations

from deora.cli.blocks import draw
from deora.cli.drill_screen import drill_screen
from deora.drill.promises import PROMISES, Result, Verdict

HELD = Result(PROMISES[0], Verdict.HELD, 1080, 0, 0, 0, 0.0605)
TOLERATED = Result(PROMISES[2], Verdict.HELD, 1088, 126, 0, 0, 1.84)
BROKEN = Result(PROMISES[1], Verdict.BROKEN, 1000, 3, 2, 1, 61.0, ["2 lost", "1 doubled"], "/tmp/x/kill-store-1")
LEFT_OUT = Result(PROMISES[4], Verdict.NOT_RUN, complaints=["no client"])


def drawn(*results: Result, width: int = 100, colour: bool = False) -> list[str]:
    return draw(drill_screen(results), width=width, colour=colour).splitlines()


def test_what_held() -> None:
    assert drawn(HELD, TOLERATED) == [
        "SCENARIO      REQUESTS  FAILED  LOST  DOUBLED  RECOVERED  VERDICT",
        "kill-primary     1,080       0     0        0    60.5 ms  held",
        "kill-all         1,088     126     0        0       1.8s  held",
        "",
        "2 of 2 promises held",
    ]


def test_what_was_broken_and_what_was_left_out() -> None:
    assert drawn(BROKEN, LEFT_OUT, HELD, width=400) == [
        "SCENARIO           REQUESTS  FAILED  LOST  DOUBLED  RECOVERED  VERDICT",
        "kill-store            1,000       3     2        1      1m01s  broken",
        "network-partition         -       -     -        -          -  not run",
        "kill-primary          1,080       0     0        0    60.5 ms  held",
        "",
        "kill-store: 2 lost",
        "kill-store: 1 doubled",
        "fault: kill -9 of the store, again and again",
        f"promise: {PROMISES[1].words}",
        f"look at: {PROMISES[1].look}",
        "kept: /tmp/x/kill-store-1 (its log is there; remove it when you are done)",
        "",
        "network-partition: no client",
        "",
        "1 of 2 promises broken (1 not put to the test)",
    ]


def test_a_narrow_terminal_keeps_what_counts() -> None:
    lines = drawn(HELD, BROKEN, width=40)
    assert lines[0] == "SCENARIO      LOST  DOUBLED  VERDICT"
    assert lines[2] == "kill-store       2        1  broken"
    assert max(map(len, lines)) <= 40


def test_colour_is_for_what_went_wrong() -> None:
    assert "\x1b[" not in "".join(drawn(HELD, BROKEN))
    assert "\x1b[1;31mbroken\x1b[0m" in "".join(drawn(BROKEN, colour=True))
    assert "\x1b[32mheld\x1b[0m" in "".join(drawn(HELD, colour=True))
