"""The screens of the queue: its summary, a page of entries, one entry. No terminal, no clock, no I/O."""

from __future__ import annotations

import json
from typing import Any, Final

from deora.cli.blocks import Block, Cell, Column, Flow, Gap, Table, Tone, prose
from deora.cli.figures import NOTHING, count, word
from deora.cli.screens import error_text, queue_flow, record, records, tone_of, upstream_errors, upstream_table

_ENTRY_COLUMNS: Final = (
    Column("ID"),
    Column("STATE"),
    Column("UPSTREAM", rank=2),
    Column("PRIORITY", rank=4, right=True),
    Column("CREATED", rank=5),
    Column("ATTEMPTS", rank=3, right=True),
    Column("WRITES", shrinks_to=22),
    Column("ERROR", rank=1, shrinks_to=18),
)
_WRITE_KINDS: Final = ("set", "update", "delete", "create")


def queue_screen(queue: Any) -> list[Block]:
    """The screen of `deora queue`: the line of `deora status`, then what waits by priority and by upstream."""
    document = record(queue)
    blocks: list[Block] = [queue_flow(document)]
    levels = sorted(_by_priority(document.get("by_priority")).items(), reverse=True)
    if levels:
        phrases = [[Cell(f"{level}: ", "faint"), Cell(count(waiting))] for level, waiting in levels]
        blocks.append(Flow([[Cell("BY PRIORITY", "faint")], *phrases], indent=2))
    upstreams = _named(document.get("upstreams"))
    if upstreams:
        blocks += [Gap(), upstream_table(upstreams), *upstream_errors(upstreams)]
    return blocks


def _by_priority(value: Any) -> dict[int, Any]:
    return {int(level): waiting for level, waiting in record(value).items() if str(level).isdecimal() and waiting}


def _named(value: Any) -> list[dict[str, Any]]:
    """Upstreams as a list of objects with a name, also where they come as an object by name."""
    if isinstance(value, dict):
        return [{"name": name, **record(upstream)} for name, upstream in value.items()]
    return records(value)


def entries_screen(page: Any) -> list[Block]:
    """The screen of `deora queue ls`: one line for each entry of the page `{"entries", "cursor"}`."""
    entries = records(record(page).get("entries"))
    if not entries:
        return [Flow([[Cell("no entries")]])]
    return [Table(_ENTRY_COLUMNS, [_entry_row(entry) for entry in entries])]


def _entry_row(entry: dict[str, Any]) -> list[Cell]:
    state = entry.get("state")
    return [
        Cell(word(entry.get("id"))),
        Cell(word(state), tone_of(state)),
        Cell(word(entry.get("upstream"))),
        Cell(count(entry.get("priority"))),
        Cell(_moment(entry.get("created"))),
        Cell(count(entry.get("attempts"))),
        Cell(_writes_phrase(entry.get("writes"))),
        Cell(error_text(entry.get("error")) or NOTHING, _error_tone(state)),
    ]


def _error_tone(state: Any) -> Tone:
    return "bad" if state == "dead" else "faint"


def _moment(value: Any) -> str:
    """A timestamp to the second: `2026-01-31T12:00:00.123456Z` as `2026-01-31 12:00:00`."""
    return word(value)[:19].replace("T", " ")


def _writes_phrase(writes: Any) -> str:
    """The first write, and how many more there are."""
    if not isinstance(writes, list) or not writes:
        return NOTHING
    more = f" +{len(writes) - 1}" if len(writes) > 1 else ""
    return _write_phrase(writes[0]) + more


def _write_phrase(write: Any) -> str:
    """`set orders/o1` of `{"set": {"path": "orders/o1", ..}}`, and of a flat `{"path": .., "op": "set"}`."""
    document = record(write)
    for kind in _WRITE_KINDS:
        if isinstance(document.get(kind), dict):
            return f"{kind} {word(document[kind].get('path'))}"
    parts = (document.get("op") or document.get("kind"), document.get("path"))
    return " ".join(word(part) for part in parts if part) or NOTHING


def entry_screen(entry: Any) -> list[Block]:
    """The screen of `deora queue show`: what the entry is, why it failed, and each of its writes whole."""
    document = record(entry)
    state = document.get("state")
    error = error_text(document.get("error"))
    head: list[list[Cell]] = [
        [Cell(f"ENTRY {word(document.get('id'))}", "strong")],
        [Cell(word(state), tone_of(state))],
        [Cell("upstream ", "faint"), Cell(word(document.get("upstream")))],
        [Cell("priority ", "faint"), Cell(count(document.get("priority")))],
        [Cell("attempts ", "faint"), Cell(count(document.get("attempts")))],
        [Cell("created ", "faint"), Cell(word(document.get("created")))],
    ]
    blocks: list[Block] = [Flow(head, indent=2)]
    if error:
        blocks.append(prose(Cell(f"error: {error}", _error_tone(state)), indent=2))
    writes = document.get("writes")
    for write in writes if isinstance(writes, list) else []:
        blocks += [Gap(), Flow([[Cell(_write_phrase(write), "strong")]])]
        # Escaped to ASCII, JSON holds nothing that a terminal would act on.
        blocks += [Flow([[Cell(line)]], indent=2) for line in json.dumps(write, indent=2).splitlines()]
    return blocks
