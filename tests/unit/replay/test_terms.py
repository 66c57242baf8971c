"""What a lane begins with."""

from __future__ import annotations

from deora.replay.terms import LaneSettings, Status


def test_a_lane_that_has_met_nothing_yet_is_up() -> None:
    status = Status()
    assert (status.state, status.breaker, status.failures, status.last_error) == ("up", "CLOSED", 0, None)


def test_a_hanging_upstream_is_found_out_by_its_cursor_before_a_batch_is_given_up() -> None:
    settings = LaneSettings()
    assert settings.cursor_deadline_s < settings.deadline_s
