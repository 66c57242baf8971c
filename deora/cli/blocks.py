"""What a screen is made of, and how it fits a terminal.

A screen is a list of blocks. A `Flow` is a line of phrases that goes on in the next line where the width ends; a
`Table` has one line for each row, always: where its columns do not fit, the least important ones are left out, and
those that may be are cut short. So a narrow terminal shows less, never garbage.

Tones carry meaning (good, warn, bad); the words carry it too, so that nothing is lost without colour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

Tone = Literal["plain", "strong", "faint", "good", "warn", "bad"]

_STYLES: Final[dict[Tone, str]] = {
    "plain": "",
    "strong": "bold",
    "faint": "dim",
    "good": "green",
    "warn": "yellow",
    "bad": "bold red",
}
_GAP: Final = 2


@dataclass(frozen=True, slots=True)
class Cell:
    """Words in one tone."""

    text: str
    tone: Tone = "plain"


@dataclass(frozen=True, slots=True)
class Column:
    """`rank` 0 is always shown, the highest rank is left out first. `shrinks_to`: it may be cut to that width."""

    title: str
    rank: int = 0
    right: bool = False
    shrinks_to: int | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells, as many in each row as there are columns."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True, slots=True)
class Flow:
    """Phrases in a line, `gap` columns apart; a line ends between phrases, further lines begin `indent` further in."""

    phrases: Sequence[Sequence[Cell]]
    indent: int = 0
    gap: int = _GAP


@dataclass(frozen=True, slots=True)
class Gap:
    """An empty line."""


Block = Table | Flow | Gap


def prose(*cells: Cell, indent: int = 0) -> Flow:
    """Sentences that wrap between words."""
    return Flow([[Cell(part, cell.tone)] for cell in cells for part in cell.text.split()], indent=indent, gap=1)


@dataclass(frozen=True, slots=True)
class Fitted:
    """A table's columns that are shown, by index, with their widths."""

    indices: list[int] = field(default_factory=list)
    widths: list[int] = field(default_factory=list)


def fit(columns: Sequence[Column], natural_widths: Sequence[int], width: int) -> Fitted:
    """Chooses the columns that fit `width`, and their widths.

    Columns that may shrink are first counted at their least width, so that they cost no other column; what room is
    left over goes back to them in order. The columns of rank 0 stay even where they do not fit.
    """
    least = [
        size if column.shrinks_to is None else min(size, max(column.shrinks_to, len(column.title)))
        for column, size in zip(columns, natural_widths, strict=True)
    ]
    shown = list(range(len(columns)))

    def needed() -> int:
        return sum(least[index] for index in shown) + _GAP * (len(shown) - 1)

    while needed() > width and (droppable := [index for index in shown if columns[index].rank]):
        shown.remove(max(droppable, key=lambda index: (columns[index].rank, index)))
    room = max(width - needed(), 0)
    widths = []
    for index in shown:
        more = min(room, natural_widths[index] - least[index])
        room -= more
        widths.append(least[index] + more)
    return Fitted(shown, widths)


def draw(blocks: Sequence[Block], *, width: int, colour: bool) -> str:
    """The blocks as text of at most `width` columns, with colours where `colour` says so. Ends without a newline."""
    import io

    from rich.console import Console

    console = Console(
        file=io.StringIO(),
        width=width,
        force_terminal=colour,
        no_color=not colour,
        color_system="standard" if colour else None,
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
    )
    lines: list[str] = []
    for block in blocks:
        if isinstance(block, Gap):
            lines.append("")
        elif isinstance(block, Table):
            lines += _lines(console, _rich_table(block, width))
        else:
            lines += [line for text in _flow_texts(console, block, width) for line in _lines(console, text)]
    return "\n".join(lines)


def _lines(console: Console, renderable: RenderableType) -> list[str]:
    with console.capture() as capture:
        console.print(renderable, soft_wrap=False)
    return [line.rstrip() for line in capture.get().splitlines()]


def _rich_text(cells: Sequence[Cell]) -> Text:
    from rich.text import Text

    text = Text(no_wrap=True, overflow="ellipsis")
    for cell in cells:
        text.append(cell.text, style=_STYLES[cell.tone])
    return text


def _rich_table(table: Table, width: int) -> RenderableType:
    from rich.cells import cell_len
    from rich.table import Table as RichTable

    natural = [
        max([cell_len(column.title), *(cell_len(row[index].text) for row in table.rows)])
        for index, column in enumerate(table.columns)
    ]
    fitted = fit(table.columns, natural, width)
    drawn = RichTable(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style="dim", show_edge=False)
    for index, size in zip(fitted.indices, fitted.widths, strict=True):
        column = table.columns[index]
        drawn.add_column(
            column.title, width=size, justify="right" if column.right else "left", no_wrap=True, overflow="ellipsis"
        )
    for row in table.rows:
        drawn.add_row(*(_rich_text([row[index]]) for index in fitted.indices))
    return drawn


def _flow_texts(console: Console, flow: Flow, width: int) -> list[Text]:
    from rich.text import Text

    room = max(width - flow.indent, 1)
    texts = [_rich_text(phrase) for phrase in flow.phrases]
    pieces: list[Text] = []
    for text in texts:
        fits = text.cell_len <= room
        pieces += [text] if fits else text.wrap(console, room, overflow="fold", no_wrap=False)
    lines: list[Text] = []
    line = Text(no_wrap=True)
    for piece in pieces:
        if line.cell_len and line.cell_len + flow.gap + piece.cell_len > width:
            lines.append(line)
            line = Text(" " * flow.indent, no_wrap=True)
        elif line.cell_len:
            line.append(" " * flow.gap)
        line.append_text(piece)
    return [*lines, line]
