"""The table of `deora drill`: results in, blocks out. No terminal, no clock, no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from deora.cli.blocks import Block, Cell, Column, Gap, Table, Tone, prose
from deora.cli.figures import NOTHING, count, duration, milliseconds, word
from deora.cli.screens import alarming
from deora.drill.promises import RECOVERY_S, Result, Verdict

_COLUMNS: Final = (
    Column("SCENARIO"),
    Column("REQUESTS", rank=3, right=True),
    Column("FAILED", rank=2, right=True),
    Column("LOST", right=True),
    Column("DOUBLED", right=True),
    Column("RECOVERED", rank=1, right=True),
    Column("VERDICT"),
)
_TONES: Final[dict[Verdict, Tone]] = {Verdict.HELD: "good", Verdict.BROKEN: "bad", Verdict.NOT_RUN: "warn"}


def drill_screen(results: Sequence[Result]) -> list[Block]:
    """The table; below it what was broken, what was promised and where to look; at last the sum."""
    blocks: list[Block] = [Table(_COLUMNS, [_row(result) for result in results])]
    for result in results:
        blocks += _explained(result)
    return [*blocks, Gap(), _sum(results)]


def _row(result: Result) -> list[Cell]:
    verdict = Cell(result.verdict.value, _TONES[result.verdict])
    if result.verdict is Verdict.NOT_RUN:
        return [Cell(result.promise.name), *[Cell(NOTHING)] * 5, verdict]
    unexplained = result.verdict is Verdict.BROKEN
    return [
        Cell(result.promise.name),
        Cell(count(result.requests)),
        alarming(result.failed, "warn" if unexplained else "plain"),
        alarming(result.lost, "bad"),
        alarming(result.doubled, "bad"),
        Cell(_time(result.recovered_s), "bad" if (result.recovered_s or 0) > RECOVERY_S else "plain"),
        verdict,
    ]


def _time(seconds: float | None) -> str:
    """Short times with their milliseconds."""
    if seconds is None:
        return NOTHING
    return milliseconds(seconds * 1000) if seconds < 1 else duration(seconds)


def _explained(result: Result) -> list[Block]:
    """What is to be said of a scenario that did not simply hold."""
    if result.verdict is Verdict.HELD:
        return []
    blocks: list[Block] = [Gap()]
    tone = _TONES[result.verdict]
    blocks += [prose(Cell(f"{result.promise.name}: {word(said)}", tone), indent=2) for said in result.complaints]
    if result.verdict is Verdict.BROKEN:
        blocks += [
            _labelled("fault:", result.promise.fault),
            _labelled("promise:", result.promise.words),
            _labelled("look at:", result.promise.look),
        ]
        if result.kept is not None:
            blocks.append(_labelled("kept:", f"{result.kept} (its log is there; remove it when you are done)"))
    return blocks


def _labelled(label: str, text: str) -> Block:
    return prose(Cell(label, "faint"), Cell(text), indent=2)


def _sum(results: Sequence[Result]) -> Block:
    """The last line."""
    broken = sum(result.verdict is Verdict.BROKEN for result in results)
    left_out = sum(result.verdict is Verdict.NOT_RUN for result in results)
    run = len(results) - left_out
    said = (
        Cell(f"{broken} of {run} promises broken", "bad") if broken else Cell(f"{run} of {run} promises held", "good")
    )
    return prose(said, *([Cell(f"({left_out} not put to the test)", "warn")] if left_out else []))
