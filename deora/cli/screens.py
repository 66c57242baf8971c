"""The status screen: the JSON of `GET /status` in, blocks out. No terminal, no clock, no I/O.

Whatever the server leaves out, or says in a way that this version does not know, shows as `-`; a screen never fails
because of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from deora.cli.blocks import Block, Cell, Column, Flow, Gap, Table, Tone, prose
from deora.cli.figures import count, duration, milliseconds, percent, rate, size, word

_TONES: Final[dict[str, Tone]] = {
    "healthy": "good",
    "up": "good",
    "ok": "good",
    "closed": "good",
    "ready": "good",
    "running": "good",
    "connected": "good",
    "degraded": "warn",
    "starting": "warn",
    "stopping": "warn",
    "drain": "warn",
    "draining": "warn",
    "maint": "warn",
    "paused": "warn",
    "half_open": "warn",
    "down": "bad",
    "stopped": "bad",
    "unauthorised": "bad",
    "open": "bad",
    "dead": "bad",
    "error": "bad",
    "failed": "bad",
}

_CHILD_COLUMNS: Final = (
    Column("CHILD"),
    Column("PID", rank=5, right=True),
    Column("STATE"),
    Column("UPTIME", rank=3, right=True),
    Column("RESTARTS", rank=4, right=True),
    Column("CPU", rank=7, right=True),
    Column("MEMORY", rank=6, right=True),
    Column("REQ/S", rank=1, right=True),
    Column("P99", rank=2, right=True),
)

_UPSTREAM_COLUMNS: Final = (
    Column("UPSTREAM"),
    Column("TYPE", rank=4),
    Column("STATE"),
    Column("BREAKER"),
    Column("LATENCY", rank=3, right=True),
    Column("WAITING", rank=2, right=True),
    Column("LAG", rank=1, right=True),
)


def tone_of(state: Any) -> Tone:
    """The tone of a state's name, in any spelling of it."""
    return _TONES.get(str(state).lower().replace("-", "_"), "plain")


def records(value: Any) -> list[dict[str, Any]]:
    """The objects in a list of the server's; anything else is left out."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def record(value: Any) -> dict[str, Any]:
    """An object of the server's; an empty one in place of anything else."""
    return value if isinstance(value, dict) else {}


def alarming(value: Any, tone: Tone) -> Cell:
    """A count that takes `tone` when it is not zero."""
    return Cell(count(value), tone if isinstance(value, int) and value else "plain")


def status_screen(status: Any) -> list[Block]:
    """The screen of `deora status`: the instance, its children, its upstreams, its queue, its alerts."""
    document = record(status)
    children = _children(document)
    blocks: list[Block] = [_headline(document), Gap(), _child_table(children), *_reasons(children)]
    upstreams = records(document.get("upstreams"))
    if upstreams:
        blocks += [Gap(), upstream_table(upstreams), *upstream_errors(upstreams)]
    blocks += [Gap(), queue_flow(record(document.get("queue")))]
    blocks += _cache(record(document.get("cache")))
    return [*blocks, *_alerts(document.get("alerts"))]


def _headline(document: dict[str, Any]) -> Flow:
    supervisor = record(document.get("supervisor"))
    state = document.get("status")
    return Flow(
        [
            [Cell("DEORA", "strong")],
            [Cell(word(state), tone_of(state))],
            _pair("node", word(document.get("node"))),
            _pair("up", duration(supervisor.get("uptime_s"))),
            _pair("pid", word(supervisor.get("pid"))),
            _pair("version", word(document.get("version"))),
        ]
    )


def _children(document: dict[str, Any]) -> list[dict[str, Any]]:
    workers = [{**child, "name": child.get("slot")} for child in records(document.get("workers"))]
    return workers + records(document.get("processes"))


def _child_table(children: Iterable[dict[str, Any]]) -> Table:
    return Table(_CHILD_COLUMNS, [_child_row(child) for child in children])


def _reasons(children: Iterable[dict[str, Any]]) -> list[Block]:
    """Why a child is not up, where the server says so."""
    return [
        prose(Cell(f"{word(child.get('name'))}: {word(child['reason'])}", "bad"), indent=2)
        for child in children
        if child.get("reason")
    ]


def _child_row(child: dict[str, Any]) -> list[Cell]:
    state = child.get("state")
    return [
        Cell(word(child.get("name"))),
        Cell(word(child.get("pid"))),
        Cell(word(state), tone_of(state)),
        Cell(duration(child.get("uptime_s"))),
        alarming(child.get("restarts"), "warn"),
        Cell(percent(child.get("cpu_percent"))),
        Cell(size(child.get("memory_bytes"))),
        Cell(rate(child.get("requests_per_s"))),
        Cell(milliseconds(child.get("p99_ms"))),
    ]


def upstream_table(upstreams: Iterable[dict[str, Any]]) -> Table:
    """One row for each upstream; its lag is the age of the oldest write that it does not have yet."""
    rows = []
    for upstream in upstreams:
        state, breaker = upstream.get("state"), upstream.get("breaker")
        rows.append(
            [
                Cell(word(upstream.get("name"))),
                Cell(word(upstream.get("type"))),
                Cell(word(state), tone_of(state)),
                Cell(word(breaker), tone_of(breaker)),
                Cell(milliseconds(upstream.get("latency_ms"))),
                Cell(count(upstream.get("pending"))),
                Cell(duration(upstream.get("oldest_s"))),
            ]
        )
    return Table(_UPSTREAM_COLUMNS, rows)


def upstream_errors(upstreams: Iterable[dict[str, Any]]) -> list[Block]:
    """The last error of each upstream that has one: in red while it is out, faint once it is back."""
    blocks: list[Block] = []
    for upstream in upstreams:
        error = error_text(upstream.get("last_error"))
        if error:
            out = str(upstream.get("breaker")).lower() != "closed" or tone_of(upstream.get("state")) == "bad"
            blocks.append(prose(Cell(f"{word(upstream.get('name'))}: last error: {error}", _error_tone(out)), indent=2))
    return blocks


def _error_tone(out: bool) -> Tone:
    return "bad" if out else "faint"


def error_text(error: Any) -> str:
    """An error as one line: a string, or the message and code of an object. Empty where there is none."""
    if not error:
        return ""
    if isinstance(error, dict):
        message = error.get("message") or error.get("detail")
        code = error.get("code") or error.get("class") or error.get("kind")
        parts = [word(part) for part in (code, message) if part]
        return ": ".join(parts) if parts else word(error)
    return word(error)


def queue_flow(queue: dict[str, Any]) -> Flow:
    """The queue in one line: depth, oldest, rates, time to drain."""
    paused = bool(queue.get("paused"))
    return Flow(
        [
            [Cell("QUEUE", "faint")],
            *([[Cell("PAUSED", "warn")]] if paused else []),
            _pair("waiting", count(queue.get("pending"))),
            _pair("in flight", count(queue.get("inflight"))),
            [Cell("dead ", "faint"), alarming(queue.get("dead"), "bad")],
            _pair("oldest", duration(queue.get("oldest_s"))),
            _pair("in", rate(queue.get("in_per_s")) + "/s"),
            _pair("out", rate(queue.get("out_per_s")) + "/s"),
            [_drain(queue, paused)],
        ],
        indent=2,
    )


def _drain(queue: dict[str, Any], paused: bool) -> Cell:
    eta_s = queue.get("drain_eta_s")
    if queue.get("pending") == 0 and not queue.get("inflight"):
        return Cell("empty", "good")
    if paused:
        return Cell("drains once resumed", "warn")
    if eta_s is None:
        return Cell("not draining", "warn")
    return Cell(f"drains in {duration(eta_s)}")


def _pair(label: str, value: str) -> list[Cell]:
    return [Cell(f"{label} ", "faint"), Cell(value)]


def _cache(tiers: dict[str, Any]) -> list[Block]:
    phrases = []
    for name, tier in tiers.items():
        hits, misses = record(tier).get("hits"), record(tier).get("misses")
        if isinstance(hits, int) and isinstance(misses, int) and hits + misses:
            phrases.append(_pair(word(name), f"{percent(100 * hits / (hits + misses))} of {count(hits + misses)}"))
    return [Flow([[Cell("CACHE HITS", "faint")], *phrases], indent=2)] if phrases else []


def _alerts(alerts: Any) -> list[Block]:
    if not isinstance(alerts, list) or not alerts:
        return []
    return [Gap(), Flow([[Cell("ALERTS", "bad")]]), *(block for alert in alerts for block in _alert(alert))]


def _alert(alert: Any) -> list[Block]:
    """What is wrong, and below it what to do."""
    text = error_text(alert) or word(record(alert).get("name"))
    hint = record(alert).get("hint")
    lines: list[Block] = [prose(Cell(f"! {text}", "bad"), indent=2)]
    if hint:
        lines.append(prose(Cell("hint:", "faint"), Cell(word(hint)), indent=2))
    return lines
