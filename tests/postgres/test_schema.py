"""A venue's own schema: typed columns, constraints, keys between tables. What lands, and what is refused."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from deora.upstream.base import Applied, Refused, Unauthorised
from tests.fakes.venue import Venue, create, delete, set_, update, upsert

SCHEMA = (
    'CREATE TABLE tables (id text PRIMARY KEY, "Seats" integer NOT NULL CHECK ("Seats" > 0))',
    """CREATE TABLE orders (id uuid PRIMARY KEY, number serial UNIQUE, "table" text REFERENCES tables (id),
      items jsonb NOT NULL DEFAULT '[]', tags text[], state text NOT NULL DEFAULT 'open',
      created_at timestamptz NOT NULL, photo bytea, weight double precision, note text)""",
    """CREATE TABLE bills (id text PRIMARY KEY, "order" uuid NOT NULL REFERENCES orders (id) ON DELETE RESTRICT,
      total numeric(10,2) NOT NULL CHECK (total >= 0), tip numeric(10,2), paid boolean DEFAULT false,
      receipt text UNIQUE, guests smallint, scores integer[],
      gross numeric(12,2) GENERATED ALWAYS AS (total * 1.19) STORED)""",
)
ORDER = "11111111-1111-4111-8111-111111111111"
OTHER = "22222222-2222-4222-8222-222222222222"
NOON = {"$timestamp": "2026-01-31T12:00:00.123456Z"}


@pytest.fixture
async def opened(venue: Venue) -> Venue:
    return venue


async def open_venue(venue: Venue) -> None:
    await venue.execute(*SCHEMA)
    venue.connect({"tables": "tables", "orders": "orders", "bills": "public.bills"})
    evening = [set_("tables/t1", {"Seats": 4}), set_(f"orders/{ORDER}", {"table": "t1", "created_at": NOON})]
    assert await venue.send(*evening, set_("bills/b1", {"order": ORDER, "total": 10})) == Applied()


async def test_parents_land_before_children_written_after_them(venue: Venue) -> None:
    await venue.execute(*SCHEMA)
    venue.connect({"tables": "tables", "orders": "orders", "bills": "bills"})
    writes = []
    for number in range(20):
        ident = f"00000000-0000-4000-8000-{number:012d}"
        writes.append(set_(f"tables/t{number}", {"Seats": number + 1}))
        writes.append(create(f"orders/{ident}", {"table": f"t{number}", "created_at": NOON}))
        writes.append(set_(f"bills/b{number}", {"order": ident, "total": 3.5}))
        writes.append(update(f"bills/b{number}", {"total": {"$increment": 0.1}}))
    assert await venue.send(*writes) == Applied()
    assert await venue.rows("SELECT count(*), sum(total) FROM bills") == [(20, Decimal("72.00"))]
    gone = [write for number in range(20) for write in (delete(f"bills/b{number}"),)]
    assert await venue.send(*gone, delete(f"orders/{ident}"), delete("tables/t19")) == Applied()
    assert await venue.rows("SELECT count(*) FROM orders") == [(19,)]


async def test_values_land_typed_and_come_back(venue: Venue) -> None:
    await open_venue(venue)
    order = {
        "table": "t1",
        "items": [{"id": "beer", "n": 2, "price": 4.5, "at": NOON}],
        "tags": ["a", "b,c"],
        "state": "served",
        "created_at": NOON,
        "photo": {"$bytes": "AAECAw=="},
        "weight": 3.0,
        "note": "Käse 'n' \"Wein\"",
    }
    assert await venue.send(set_(f"orders/{OTHER}", {**order, "number": 77})) == Applied()
    assert await venue.read(f"orders/{OTHER}") == [{**order, "number": 77}]
    at = "created_at = '2026-01-31 12:00:00.123456+00'"
    row = await venue.rows(f"SELECT photo, weight, tags, {at} FROM orders WHERE number = 77")
    assert row == [(b"\0\1\2\3", 3.0, ["a", "b,c"], True)]
    read = (await venue.read(f"orders/{OTHER}"))[0]
    assert type(read["weight"]) is float
    assert type(read["items"][0]["n"]) is int


async def test_a_set_is_a_fresh_row_but_for_its_serial_number(venue: Venue) -> None:
    await open_venue(venue)
    path = f"orders/{ORDER}"
    before = (await venue.read(path))[0]
    assert before == {"table": "t1", "created_at": NOON, "items": [], "state": "open", "number": before["number"]}
    assert await venue.send(update(path, {"state": "paid", "note": "x"})) == Applied()
    assert await venue.send(set_(path, {"created_at": NOON})) == Applied()
    assert await venue.read(path) == [{"created_at": NOON, "items": [], "state": "open", "number": before["number"]}]


async def test_an_update_touches_only_what_it_writes(venue: Venue) -> None:
    await open_venue(venue)
    await venue.execute("UPDATE bills SET tip = 1.5, receipt = 'r1', guests = 2 WHERE id = 'b1'")
    changes = update("bills/b1", {"total": {"$increment": 0.1}, "paid": True, "guests": {"$max": 5}})
    assert await venue.send(changes, update("bills/b1", {"total": {"$increment": 0.2}})) == Applied()
    assert await venue.rows("SELECT total, tip, receipt, guests, paid FROM bills") == [
        (Decimal("10.30"), Decimal("1.50"), "r1", 5, True)
    ]


async def test_a_numeric_counts_exactly(venue: Venue) -> None:
    await open_venue(venue)
    assert await venue.send(*[update("bills/b1", {"total": {"$increment": 0.1}})] * 300) == Applied()
    assert await venue.rows("SELECT total FROM bills") == [(Decimal("40.00"),)]


@pytest.mark.parametrize(
    ("fields", "row"),
    [
        ({"tip": {"$increment": 2.5}, "guests": {"$min": 3}}, (Decimal("2.50"), 3, None)),
        ({"scores": {"$arrayUnion": [3, 1, 3]}}, (None, None, [3, 1])),
        ({"scores": {"$arrayRemove": [3]}}, (None, None, [])),
    ],
)
async def test_operators_on_columns_that_are_null(venue: Venue, fields: dict[str, Any], row: tuple[Any, ...]) -> None:
    await open_venue(venue)
    assert await venue.send(update("bills/b1", fields)) == Applied()
    assert await venue.rows("SELECT tip, guests, scores FROM bills") == [row]
    fresh = {"order": ORDER, "total": 1}
    assert await venue.send(upsert("bills/b2", {**fresh, **fields})) == Applied()
    assert await venue.rows("SELECT tip, guests, scores FROM bills WHERE id = 'b2'") == [row]


async def test_operators_on_an_array_column(venue: Venue) -> None:
    await open_venue(venue)
    assert await venue.send(update("bills/b1", {"scores": [5, 6, 5]})) == Applied()
    assert await venue.send(update("bills/b1", {"scores": {"$arrayUnion": [7, 5, 7]}})) == Applied()
    assert await venue.rows("SELECT scores FROM bills") == [([5, 6, 5, 7],)]
    assert await venue.send(update("bills/b1", {"scores": {"$arrayRemove": [5]}})) == Applied()
    assert await venue.rows("SELECT scores FROM bills") == [([6, 7],)]
    assert await venue.send(update("bills/b1", {"scores": {"$delete": True}})) == Applied()
    assert await venue.rows("SELECT scores FROM bills") == [(None,)]


REFUSALS: list[tuple[Any, tuple[str, ...]]] = [
    (set_("bills/b9", {"order": ORDER, "total": -1}), ('violates check constraint "bills_total_check"',)),
    (set_("bills/b9", {"order": OTHER, "total": 1}), ("violates foreign key constraint", f"({OTHER}) is not present")),
    (set_("bills/b9", {"total": 1}), ('null value in column "order"',)),
    (create("bills/b1", {"order": ORDER, "total": 1}), ("duplicate key", "(b1) already exists")),
    (set_("bills/b9", {"order": ORDER, "total": "ten"}), ("invalid input syntax for type numeric", '"ten"')),
    (set_("bills/b9", {"order": ORDER, "total": 1e12}), ("numeric field overflow",)),
    (update("bills/b1", {"guests": {"$increment": 40000}}), ("out of range for type smallint",)),
    (update("bills/b1", {"guests": {"$increment": 0.5}}), ("invalid input syntax for type smallint",)),
    (update("bills/b1", {"order": {"$delete": True}}), ('null value in column "order"',)),
    (update("bills/b9", {"paid": True}), ("'bills/b9' does not exist",)),
    (upsert("bills/b9", {"paid": True}), ('null value in column "order"',)),
    (delete(f"orders/{ORDER}"), ("violates foreign key constraint",)),
    # What the table cannot take, in words of our own.
    (
        set_("bills/b9", {"order": ORDER, "total": 1, "colour": "red"}),
        ("colour", "has no column colour; it has id"),
    ),
    (update("bills/b1", {"colour": "red"}), ("the table public.bills has no column colour",)),
    (update("bills/b1", {"gross": 5}), ("gross", "computed by PostgreSQL")),
    (update("bills/b1", {"id": "b2"}), ("holds the document's id",)),
    (set_("bills/b9", {"id": "b8", "order": ORDER, "total": 1}), ("holds the document's id",)),
    (update("bills/b1", {"receipt": {"$increment": 1}}), ("$increment takes a column of numbers", "receipt", "text")),
    (update("bills/b1", {"receipt": {"$arrayUnion": [1]}}), ("$arrayUnion takes an array or jsonb column",)),
    (update("bills/b1", {"receipt.a": 1}), ("receipt.a", "of type text, not jsonb")),
    (update("bills/b1", {"receipt": {"$bytes": "AAEC"}}), ("holds no $bytes",)),
    (set_("orders/o1", {"created_at": NOON}), ("'o1' is no uuid",)),
    (set_(f"orders/{'A' + OTHER[1:]}", {"created_at": NOON}), ("written as PostgreSQL writes it, it is a2222222-",)),
]


@pytest.mark.parametrize(("write", "words"), REFUSALS, ids=lambda value: str(value)[:60])
@pytest.mark.parametrize("position", [0, 7])
async def test_a_refusal_names_its_entry_in_postgresqls_words(
    venue: Venue, write: Any, words: tuple[str, ...], position: int
) -> None:
    await open_venue(venue)
    entries: list[Any] = [set_(f"tables/x{number}", {"Seats": 1}) for number in range(7)]
    entries.insert(position, write)
    outcome = await venue.send(*entries, set_("other/o1", {}))
    assert isinstance(outcome, Refused), outcome
    assert outcome.index == position
    for word in words:
        assert word in outcome.message
    assert "Failing row" not in outcome.message
    assert await venue.rows("SELECT count(*) FROM tables") == [(1,)]
    # Without it the others land.
    del entries[position]
    assert await venue.send(*entries, set_("other/o1", {})) == Applied()
    assert await venue.rows("SELECT count(*) FROM tables") == [(8,)]


async def test_a_grouping_that_a_constraint_minds_is_undone(venue: Venue) -> None:
    """Grouped, both sets would come before the delete, and meet the receipt that it frees."""
    await open_venue(venue)
    first = {"order": ORDER, "total": 1, "receipt": "r1"}
    assert await venue.send(set_("bills/b2", first)) == Applied()
    writes = [set_("bills/b3", {**first, "receipt": "r2"}), delete("bills/b2"), set_("bills/b4", first)]
    assert await venue.send(*writes) == Applied()
    assert await venue.rows("SELECT id FROM bills ORDER BY id") == [("b1",), ("b3",), ("b4",)]
    within_one_entry = [set_("bills/b5", {**first, "receipt": "r3"}), delete("bills/b4"), set_("bills/b6", first)]
    assert await venue.send(within_one_entry) == Applied()
    assert await venue.rows("SELECT receipt FROM bills ORDER BY id") == [(None,), ("r2",), ("r3",), ("r1",)]


async def test_a_deferred_constraint_refuses_the_batch_at_its_end(venue: Venue) -> None:
    await open_venue(venue)
    await venue.execute("ALTER TABLE bills ALTER CONSTRAINT bills_order_fkey DEFERRABLE INITIALLY DEFERRED")
    outcome = await venue.send(set_("bills/b2", {"order": OTHER, "total": 1}))
    assert isinstance(outcome, Refused)
    assert "violates foreign key constraint" in outcome.message
    child_first = [set_("bills/b2", {"order": OTHER, "total": 1}), set_(f"orders/{OTHER}", {"created_at": NOON})]
    assert await venue.send(*child_first) == Applied()


async def test_an_exception_in_a_trigger_is_a_refusal(venue: Venue) -> None:
    await open_venue(venue)
    await venue.execute(
        """CREATE FUNCTION closed() RETURNS trigger LANGUAGE plpgsql AS $$
           BEGIN RAISE EXCEPTION 'the till is closed' USING DETAIL = 'since 23:00'; END $$""",
        "CREATE TRIGGER closed BEFORE UPDATE ON bills FOR EACH ROW EXECUTE FUNCTION closed()",
    )
    outcome = await venue.send(set_("a/1", {}), update("bills/b1", {"paid": True}))
    assert outcome == Refused("the till is closed: since 23:00", 1)


async def test_columns_come_and_change_under_a_running_connection(venue: Venue) -> None:
    await open_venue(venue)
    refused = await venue.send(update("bills/b1", {"cashier": "Eva"}))
    assert isinstance(refused, Refused)
    assert len(await venue.read("bills/b1")) == 1
    await venue.execute("ALTER TABLE bills ADD COLUMN cashier text")
    assert await venue.send(update("bills/b1", {"cashier": "Eva", "guests": 2})) == Applied()
    await venue.execute("ALTER TABLE bills ALTER COLUMN guests TYPE numeric(6,1)")
    assert await venue.send(update("bills/b1", {"guests": {"$increment": 0.5}})) == Applied()
    await venue.execute("ALTER TABLE bills ALTER COLUMN cashier TYPE jsonb USING to_jsonb(cashier)")
    assert await venue.send(update("bills/b1", {"cashier.name": "Eva"})) == Applied()
    (read,) = await venue.read("bills/b1")
    assert (read["guests"], read["cashier"]) == (2.5, {"name": "Eva"})
    await venue.execute("ALTER TABLE bills DROP COLUMN cashier")
    outcome = await venue.send(update("bills/b1", {"paid": True, "cashier": "Eva"}))
    assert isinstance(outcome, Refused)
    assert "has no column cashier" in outcome.message


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("DROP TABLE bills", "there is no table public.bills"),
        ("ALTER TABLE bills RENAME COLUMN id TO ident", "no column id for the documents' ids; it has ident"),
        ("ALTER TABLE bills DROP CONSTRAINT bills_pkey", 'ALTER TABLE "public"."bills" ADD UNIQUE ("id")'),
    ],
)
async def test_a_table_that_cannot_be_used_waits_for_a_person(venue: Venue, statement: str, words: str) -> None:
    await open_venue(venue)
    await venue.execute(statement)
    outcome = await venue.send(set_("bills/b2", {"order": ORDER, "total": 1}))
    assert isinstance(outcome, Unauthorised), outcome
    assert words in outcome.message
    assert await venue.send(set_("tables/t2", {"Seats": 2})) == Applied()


async def test_names_that_need_quotes(venue: Venue) -> None:
    table = '"My Bar"."a""b" ("the id" int PRIMARY KEY, "x y" jsonb, "o" int, v int)'
    await venue.execute('CREATE SCHEMA "My Bar"', f"CREATE TABLE {table}")
    venue.connect({"c/d/e": 'My Bar.a"b:the id'})
    path = "c/d/e/5"
    assert await venue.send(set_(path, {"x y": {"a": 1}, "o": 1, "v": 2})) == Applied()
    assert await venue.send(update(path, {"`x y`.`b'\\\\c`": 1, "o": {"$increment": 1}})) == Applied()
    assert await venue.send(update(path, {"v": {"$max": 9}, "`x y`.a": {"$increment": 2}})) == Applied()
    assert await venue.read(path) == [{"x y": {"a": 3, "b'\\c": 1}, "o": 2, "v": 9}]
    assert await venue.send(delete(path)) == Applied()
    assert await venue.read(path, "c/d/e/no-number") == [None, None]
