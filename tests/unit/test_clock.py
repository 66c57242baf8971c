"""The clocks: the system's, and the one that tests use in its place."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from deora.clock import Clock, SystemClock, boot_id, since_boot_s, wall_offset_s
from tests.fakes.clock import NOON_US, ManualClock


def test_the_system_s_clocks_are_in_the_units_of_their_names() -> None:
    clock: Clock = SystemClock()
    before_us = time.time_ns() // 1000
    assert before_us <= clock.wall_us() <= time.time_ns() // 1000
    before_s = time.monotonic()
    assert before_s <= clock.monotonic_s() <= time.monotonic()


def test_the_clock_since_boot_is_the_same_for_every_process() -> None:
    program = "from deora.clock import boot_id, since_boot_s; print(boot_id(), since_boot_s())"
    before_s = since_boot_s()
    told = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    assert told[0] == boot_id()
    assert before_s <= float(told[1]) <= since_boot_s()


def test_where_the_boot_has_no_name_nothing_is_compared(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("deora.clock._BOOT_ID", tmp_path / "missing")
    assert boot_id() != boot_id()


def test_a_manual_clock_moves_only_when_it_is_told_to() -> None:
    manual = ManualClock()
    clock: Clock = manual
    assert (clock.monotonic_s(), clock.wall_us()) == (1000.0, NOON_US)
    manual.advance(1.5)
    assert (clock.monotonic_s(), clock.wall_us()) == (1001.5, NOON_US + 1_500_000)
    manual.wall_now_us = 0
    assert (clock.monotonic_s(), clock.wall_us()) == (1001.5, 0)


def test_the_offset_makes_a_label_of_an_event() -> None:
    assert time.monotonic() + wall_offset_s() == pytest.approx(time.time(), abs=1.0)
