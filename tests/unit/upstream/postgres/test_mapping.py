"""How the writes of a batch are grouped, and what of a document a table cannot take."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from deora.documents.writes import Write
from deora.upstream.postgres.catalog import Column, Form, Table
from deora.upstream.postgres.expressions import FieldFault, check_operation, writable
from deora.upstream.postgres.mapping import EntryFault, Group, delete_sql, groups_of, set_sql, update_sql, upsert_sql
from tests.fakes.venue import create, delete, set_, update, upsert


def table(name: str, *columns: Column, id_type: str = "text") -> Table:
    ident = Column("id", id_type, Form.PLAIN)
    return Table(name, ident, {column.name: column for column in (ident, *columns)})


ORDERS = table("orders", Column("n", "integer", Form.INTEGER), Column("items", "jsonb", Form.JSONB))
BILLS = table(
    "bills",
    Column("total", "numeric", Form.NUMERIC),
    Column("at", "timestamp with time zone", Form.TIMESTAMP),
    Column("photo", "bytea", Form.BYTES),
    Column("tags", "text[]", Form.ARRAY, element="text"),
    Column("number", "integer", Form.INTEGER, kept=True),
    Column("gross", "numeric", Form.NUMERIC, computed=True),
    id_type="uuid",
)
TABLES = {"orders": ORDERS, "bills": BILLS}
UUID = "11111111-1111-4111-8111-111111111111"


def groups(*writes: Write, strict: bool = False) -> list[Group]:
    return groups_of(TABLES, enumerate(writes), strict=strict)


def shapes(*writes: Write, strict: bool = False) -> list[tuple[str, str, list[str]]]:
    return [(one.shape.table, one.shape.op, [row.id for row in one.rows]) for one in groups(*writes, strict=strict)]


def test_writes_of_one_shape_are_one_statement() -> None:
    assert shapes(set_("orders/1", {"n": 1}), set_("orders/2", {"n": 2}), create("orders/3", {"n": 3})) == [
        ("orders", "set", ["1", "2"]),
        ("orders", "create", ["3"]),
    ]
    assert len(groups(set_("orders/1", {"n": 1}), set_("orders/2", {"items": []}))) == 2
    assert len(groups(update("orders/1", {"n": 1}), update("orders/2", {"n": {"$increment": 1}}))) == 2
    assert len(groups(update("orders/1", {"n": 1}), upsert("orders/2", {"n": 1}))) == 2
    assert len(groups(update("orders/1", {"items.a": 1}), update("orders/2", {"items.a": 2}))) == 1


def test_an_integers_increment_and_a_doubles_are_two_shapes() -> None:
    writes = [update(f"orders/{number}", {"items.n": {"$increment": number}}) for number in (1, 2.0, 3)]
    assert [[row.index for row in group.rows] for group in groups(*writes)] == [[0, 2], [1]]


def test_writes_to_one_document_keep_their_order() -> None:
    assert shapes(set_("orders/1", {}), delete("orders/1"), set_("orders/2", {}), set_("orders/1", {})) == [
        ("orders", "set", ["1", "2"]),
        ("orders", "delete", ["1"]),
        ("orders", "set", ["1"]),
    ]
    assert shapes(*[update("orders/1", {"n": {"$increment": 1}})] * 3) == [("orders", "update", ["1"])] * 3


def test_parents_stay_before_children_across_tables() -> None:
    writes = [set_("orders/1", {}), set_(f"bills/{UUID}", {"total": 1}), set_("orders/2", {})]
    assert [name for name, _, _ in shapes(*writes)] == ["orders", "bills"]


def test_strictly_each_write_is_by_itself() -> None:
    assert [ids for _, _, ids in shapes(set_("orders/2", {}), set_("orders/1", {}), strict=True)] == [["2"], ["1"]]


def test_tagged_values_become_what_postgresql_reads() -> None:
    document = {
        "at": {"$timestamp": "2026-01-31T12:00:00.000000Z"},
        "photo": {"$bytes": "AAEC"},
        "tags": [{"$reference": "a/b"}],
    }
    (group,) = groups(set_(f"bills/{UUID}", document))
    (row,) = orjson.loads(group.arguments())
    assert row["r"] == {"at": "2026-01-31T12:00:00.000000Z", "photo": "\\x000102", "tags": ["a/b"], "id": UUID}
    (group,) = groups(set_("orders/1", {"items": document}))
    assert orjson.loads(group.arguments())[0]["r"]["items"] == document


def test_rows_are_locked_in_one_order() -> None:
    (group,) = groups(set_("orders/b", {}), set_("orders/a", {}), set_("orders/c", {}))
    assert [row["i"] for row in orjson.loads(group.arguments())] == ["a", "b", "c"]
    assert [row["i"] for row in orjson.loads(group.arguments(["c", "b"]))] == ["b", "c"]


@pytest.mark.parametrize(
    "write",
    [
        set_("orders/1", {"colour": 1}),
        update("orders/1", {"colour": {"$delete": True}}),
        update("orders/1", {"n.a": 1}),
        update("orders/1", {"n": {"$arrayUnion": [1]}}),
        set_(f"bills/{UUID}", {"gross": 1}),
        set_(f"bills/{UUID}", {"photo": {"$timestamp": "2026-01-31T12:00:00.000000Z"}}),
        set_(f"bills/{UUID}", {"total": {"$geopoint": {"latitude": 1.0, "longitude": 1.0}}}),
        set_("bills/5", {}),
    ],
)
def test_what_a_table_cannot_take_names_its_entry(write: Write) -> None:
    with pytest.raises(EntryFault) as fault:
        groups(set_("orders/2", {}), write)
    assert fault.value.index == 1
    assert fault.value.message


def test_the_id_may_stand_in_the_document_as_it_is() -> None:
    (group,) = groups(set_("orders/1", {"id": "1", "n": 2}))
    assert group.shape.columns == ("n",)


def test_a_set_leaves_computed_and_serial_columns_alone() -> None:
    (group,) = groups(set_(f"bills/{UUID}", {"total": 1}))
    sql = set_sql(group)
    assert 'INSERT INTO "bills" AS t ("id", "total")' in sql
    assert '"at" = excluded."at"' in sql
    assert "number" not in sql
    assert "gross" not in sql
    (named,) = groups(set_(f"bills/{UUID}", {"number": 5}))
    assert '"number" = excluded."number"' in set_sql(named)
    (created,) = groups(create(f"bills/{UUID}", {"total": 1}))
    assert "ON CONFLICT" not in set_sql(created)


def test_a_set_of_a_table_of_ids_alone_has_nothing_to_change() -> None:
    (group,) = groups_of({"ids": table("ids")}, [(0, set_("ids/1", {}))])
    assert set_sql(group).endswith('ON CONFLICT ("id") DO NOTHING')


def test_names_of_members_are_bound_never_written() -> None:
    wicked = "x'); DROP TABLE orders; --"
    (group,) = groups(upsert("orders/1", {f"items.`{wicked}`.b": 1, f"items.c.`{wicked}`": {"$delete": True}}))
    for sql, names in (update_sql(group), upsert_sql(group)):
        assert "DROP" not in sql
        assert names.count(wicked) == 2


def test_ids_are_compared_in_their_own_type() -> None:
    assert delete_sql(ORDERS).endswith('WHERE t."id" = ANY($1::text[])')
    assert delete_sql(BILLS).endswith('WHERE t."id" = ANY($1::text[]::uuid[])')
    (group,) = groups(update(f"bills/{UUID}", {"total": {"$increment": 1}}))
    sql, names = update_sql(group)
    assert 'coalesce(t."total" + r."total", r."total")' in sql
    assert "= (e.v ->> 'i')::uuid" in sql
    assert names == []


def test_an_upsert_leaves_what_it_deletes_to_its_default() -> None:
    (group,) = groups(upsert(f"bills/{UUID}", {"total": {"$delete": True}, "tags": {"$arrayRemove": ["a"]}}))
    sql, _ = upsert_sql(group)
    assert '("id", "tags")' in sql
    assert "'{}'::text[]" in sql


@pytest.mark.parametrize("name", ["id", "gross", "colour"])
def test_what_is_not_the_documents_to_write(name: str) -> None:
    with pytest.raises(FieldFault, match=name):
        writable(BILLS, name)


@pytest.mark.parametrize(("operator", "operand"), [("increment", 1), ("max", 1), ("min", 1), ("arrayUnion", [1])])
def test_operators_need_a_column_that_has_them(operator: str, operand: Any) -> None:
    with pytest.raises(FieldFault, match=f"in photo: \\${operator} takes"):
        check_operation(BILLS, (["photo"], operator, operand))
    assert check_operation(ORDERS, (["items", "a"], operator, operand)).name == "items"
