"""Blocks fit the width there is."""

from __future__ import annotations

import random

import pytest

from deora.cli.blocks import Block, Cell, Column, Flow, Gap, Table, draw, fit, prose

_COLUMNS = (Column("A"), Column("B", rank=2), Column("C", rank=1, shrinks_to=4))


def test_all_columns_where_they_fit() -> None:
    fitted = fit(_COLUMNS, [5, 5, 10], 24)
    assert (fitted.indices, fitted.widths) == ([0, 1, 2], [5, 5, 10])


def test_a_column_shrinks_before_another_is_left_out() -> None:
    fitted = fit(_COLUMNS, [5, 5, 10], 20)
    assert (fitted.indices, fitted.widths) == ([0, 1, 2], [5, 5, 6])


def test_the_highest_rank_is_left_out_first() -> None:
    assert fit(_COLUMNS, [5, 5, 10], 17).indices == [0, 2]
    assert fit(_COLUMNS, [5, 5, 10], 10).indices == [0]


def test_a_column_of_rank_0_always_stays() -> None:
    assert fit(_COLUMNS, [5, 5, 10], 1).indices == [0]


def test_a_column_never_shrinks_below_its_title() -> None:
    assert fit((Column("LONG TITLE", shrinks_to=2),), [30], 5).widths == [10]


def test_a_table_has_one_line_for_each_row_and_aligns() -> None:
    rows = [[Cell("one"), Cell("1"), Cell("x")], [Cell("three"), Cell("333"), Cell("yy")]]
    table = Table((Column("NAME"), Column("N", right=True), Column("WHAT")), rows)
    assert draw([table], width=40, colour=False).splitlines() == [
        "NAME     N  WHAT",
        "one      1  x",
        "three  333  yy",
    ]


def test_what_does_not_fit_is_cut_with_an_ellipsis() -> None:
    table = Table((Column("ID"), Column("ERROR", shrinks_to=6)), [[Cell("1"), Cell("a long error")]])
    assert draw([table], width=12, colour=False).splitlines()[1] == "1   a long …"


def test_wide_characters_count_twice() -> None:
    table = Table((Column("NAME"), Column("N")), [[Cell("日本語"), Cell("1")], [Cell("abc"), Cell("2")]])
    assert draw([table], width=40, colour=False).splitlines()[1:] == ["日本語  1", "abc     2"]


def test_a_flow_breaks_between_phrases() -> None:
    flow = Flow([[Cell("one "), Cell("1")], [Cell("two 2")], [Cell("three 3")]], indent=2)
    assert draw([flow], width=14, colour=False).splitlines() == ["one 1  two 2", "  three 3"]


def test_prose_breaks_between_words_and_splits_what_is_longer_than_a_line() -> None:
    lines = draw([prose(Cell("see https://example.invalid/long/path now"), indent=2)], width=16, colour=False)
    assert lines.splitlines() == ["see", "  https://exampl", "  e.invalid/long", "  /path now"]


def test_brackets_are_words_and_no_markup() -> None:
    table = Table((Column("[bold]T"),), [[Cell("[red]x[/red] :smile:")]])
    assert draw([table], width=40, colour=False).splitlines() == ["[bold]T", "[red]x[/red] :smile:"]


def test_colour_only_where_it_is_wanted() -> None:
    blocks: list[Block] = [Flow([[Cell("up", "good")]]), Gap(), Flow([[Cell("down", "bad")]])]
    assert draw(blocks, width=40, colour=False) == "up\n\ndown"
    assert draw(blocks, width=40, colour=True) == "\x1b[32mup\x1b[0m\n\n\x1b[1;31mdown\x1b[0m"


@pytest.mark.parametrize("seed", range(20))
def test_no_line_is_wider_than_the_terminal(seed: int) -> None:
    chance = random.Random(seed)
    columns = [Column(f"C{n}", rank=n, shrinks_to=chance.choice([None, 5])) for n in range(6)]
    rows = [[Cell("x" * chance.randrange(1, 12)) for _ in columns] for _ in range(4)]
    words = prose(*(Cell("w" * chance.randrange(1, 60)) for _ in range(8)), indent=2)
    width = chance.randrange(20, 60)
    lines = draw([Table(columns, rows), words], width=width, colour=False).splitlines()
    assert max(map(len, lines)) <= width
    assert len(lines) >= 6
