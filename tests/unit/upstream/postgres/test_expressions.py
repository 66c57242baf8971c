"""The shape of expressions; what they do is held against the oracle on a real server (tests/postgres)."""

from __future__ import annotations

from deora.upstream.postgres.catalog import Column, Form, Table
from deora.upstream.postgres.expressions import Operation, assignments

DOC = Column("doc", "jsonb", Form.JSONB)
RAW = Column("raw", "json", Form.JSON)
N = Column("n", "numeric", Form.NUMERIC)
TABLE = Table("things", Column("id", "text", Form.PLAIN), {"doc": DOC, "raw": RAW, "n": N})


def expressions(*operations: Operation, fresh: bool = False) -> tuple[dict[str, str], list[str]]:
    names: list[str] = []
    return {column.name: sql for column, sql in assignments(TABLE, operations, names, fresh=fresh)}, names


def test_each_column_is_assigned_once() -> None:
    found, names = expressions((["doc", "a"], "value", 1), (["n"], "increment", 1), (["doc", "b", "c"], "value", 2))
    assert sorted(found) == ["doc", "n"]
    assert sorted(names) == ["a", "b", "c"]


def test_operands_are_numbered_by_their_place_in_the_update() -> None:
    found, _ = expressions((["n"], "value", 1), (["doc", "a"], "value", 1), (["raw"], "value", 1))
    assert "(x.o -> 1)" in found["doc"]
    assert found["raw"] == "((x.o -> 2))::json"


def test_a_new_row_reads_no_old_one() -> None:
    operators: list[Operation] = [(["doc", "a"], "increment", 1), (["raw", "b"], "arrayUnion", []), (["n"], "max", 1)]
    found, _ = expressions(*operators, fresh=True)
    assert not any("t." in sql for sql in found.values())


def test_numbers_count_in_the_columns_own_type() -> None:
    assert expressions((["n"], "increment", 1))[0] == {"n": 'coalesce(t."n" + r."n", r."n")'}
    assert expressions((["n"], "max", 1))[0] == {"n": 'greatest(t."n", r."n")'}
    assert expressions((["n"], "min", 1))[0] == {"n": 'least(t."n", r."n")'}
    assert expressions((["n"], "delete", True))[0] == {"n": "NULL"}


def test_the_text_grows_with_the_update_and_not_beyond() -> None:
    """Each place names the one above it: a naive nesting would double with every level."""
    deep: Operation = (["doc", *"abcdefghijklmnopqrs"], "increment", 1)
    assert len(expressions(deep)[0]["doc"]) < 20_000
