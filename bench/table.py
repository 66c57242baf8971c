"""The table at the end of a run, and the same as JSON."""

from __future__ import annotations

import platform
import sqlite3
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from bench.measure import Row

HEADINGS = ("work", "DEORA", "peer", "ratio", "spread", "bar", "verdict")


def render(rows: Sequence[Row]) -> str:
    """The rows as a table of plain text: medians, the spread of what is judged, the bar, the verdict."""
    lines = [HEADINGS, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    text.insert(1, "  ".join("-" * width for width in widths))
    peers = dict.fromkeys(row.peer_name for row in rows if row.peer_name)
    return "\n".join([*text, *(f"peer: {name}" for name in peers)])


def _cells(row: Row) -> tuple[str, ...]:
    bar = "" if row.bar is None else f"{'<=' if row.bar.at_most else '>='} {_number(row.bar.limit)}"
    if row.missing:
        return (row.work, "", "", "", "", bar, row.verdict)
    return (
        row.work,
        f"{_number(statistics.median(row.deora))} {row.unit}",
        f"{_number(statistics.median(row.peer))} {row.unit}" if row.peer else "",
        _number(statistics.median(row.judged)) if row.peer else "",
        f"{_number(min(row.judged))} to {_number(max(row.judged))}",
        bar,
        row.verdict,
    )


def _number(value: float) -> str:
    """A number with as many digits as say something."""
    if value == 0:
        return "0"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def machine(directory: Path) -> dict[str, Any]:
    """What the figures were measured on, as far as it explains them."""
    mounts = [part for part in psutil.disk_partitions(all=True) if directory.is_relative_to(part.mountpoint)]
    return {
        "cores": psutil.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "load_before": psutil.getloadavg()[0],
        "filesystem": max(mounts, key=lambda part: len(part.mountpoint)).fstype if mounts else "unknown",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
    }


def as_json(rows: Sequence[Row], conditions: dict[str, Any]) -> dict[str, Any]:
    """The run as plain values: every round of every row, so that anybody can judge anew."""
    return {
        "conditions": conditions,
        "rows": [
            {
                "work": row.work,
                "unit": row.unit,
                "deora": list(row.deora),
                "peer": list(row.peer),
                "peer_name": row.peer_name,
                "judged": row.judged,
                "median": statistics.median(row.judged) if row.judged else None,
                "bar": None if row.bar is None else {"limit": row.bar.limit, "at_most": row.bar.at_most},
                "verdict": row.verdict,
                "details": {name: list(values) for name, values in row.details.items()},
            }
            for row in rows
        ],
    }
