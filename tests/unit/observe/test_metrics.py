"""Counting answers."""

from __future__ import annotations

import pytest

from deora.observe.metrics import BUCKETS_S, RECENT, Histogram, Metrics


def test_answers_are_counted_by_slot_code_and_latency() -> None:
    metrics = Metrics()
    metrics.answered("primary", 200, 0.0009)
    metrics.answered("primary", 200, 0.003)
    metrics.answered("primary", 503, 99.0)
    metrics.answered("secondary", 404, 0.001)
    figures = metrics.slots["primary"]
    assert figures.codes == {200: 2, 503: 1}
    assert (figures.buckets[0], figures.buckets[BUCKETS_S.index(0.005)], figures.buckets[-1]) == (1, 1, 1)
    assert figures.sum_s == pytest.approx(99.0039)
    assert metrics.errors() == 1


def test_the_p99_is_that_of_the_recent_answers() -> None:
    metrics = Metrics()
    assert metrics.p99_ms("primary") is None
    metrics.answered("primary", 200, 9.0)
    for number in range(RECENT):
        metrics.answered("primary", 200, number / 1000)
    assert metrics.p99_ms("primary") == 990.0


def test_rates_are_over_the_time_since_the_last_look() -> None:
    metrics = Metrics()
    for _ in range(30):
        metrics.answered("primary", 200, 0.001)
    metrics.tick(2.0)
    assert metrics.slots["primary"].per_second == 15.0
    metrics.tick(2.0)
    assert metrics.slots["primary"].per_second == 0.0
    metrics.tick(0.0)


def test_a_probe_that_is_told_of_trouble_is_no_failed_request() -> None:
    metrics = Metrics()
    for _ in range(3):
        metrics.answered("supervisor", 503, 0.001)
    metrics.said, metrics.unwell = 2, 2
    assert (metrics.answers(), metrics.errors(), metrics.failures()) == (1, 3, 1)


def test_a_histogram_counts_up_to_its_bounds() -> None:
    histogram = Histogram()
    for duration_s in (0.0, 0.00025, 0.0003, 99.0):
        histogram.add(duration_s)
    buckets, sum_s = histogram.to_wire()
    assert (buckets[:3], buckets[-1], sum(buckets)) == ([2, 1, 0], 1, 4)
    assert sum_s == pytest.approx(99.00055)
