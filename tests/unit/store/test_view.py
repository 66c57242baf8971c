"""Documents as the store keeps them: read once and written once in a transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest

from deora.store.database import migrate
from deora.store.view import Base, Document, Documents


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection)
    yield connection
    connection.close()


def stored(documents: Documents, path: str, view: bytes | None, *, pending: int = 1) -> Document:
    """A row, as the first commit of a document leaves it."""
    document = documents.create(path)
    document.show(view, "e-1", 1, 100)
    document.pending = pending
    documents.changed(path, document)
    documents.flush()
    found = documents.get(path)
    assert found is not None
    documents.flush()
    return found


def one(documents: Documents, path: str) -> Document:
    """A document that must be there."""
    document = documents.get(path)
    assert document is not None
    return document


# -- one document


def test_showing_the_same_data_changes_neither_version_nor_time() -> None:
    document = Document(1, "a", "b", "e-1", 1, 100, 100, 0, 0, Base.SAME, b"{}", None)
    document.show(b"{}", "e-2", 2, 200)
    assert (document.version, document.created_us, document.updated_us, document.commit_no) == ("e-1", 100, 100, 2)
    document.show(b'{"n":1}', "e-3", 3, 300)
    assert (document.version, document.created_us, document.updated_us) == ("e-3", 100, 300)
    document.show(None, "e-4", 4, 400)
    assert (document.version, document.created_us, document.updated_us) == ("e-4", 100, 400)
    document.show(b"{}", "e-5", 5, 500)
    assert (document.version, document.created_us, document.updated_us) == ("e-5", 500, 500)


def test_the_base_is_kept_once_before_the_view_moves_on() -> None:
    document = Document(1, "a", "b", "e-1", 1, 0, 0, 0, 0, Base.SAME, b"{}", None)
    assert document.known_base() == b"{}"
    document.keep_base()
    document.show(b'{"n":1}', "e-2", 2, 0)
    document.keep_base()
    assert (document.base_state, document.base, document.known_base()) == (Base.HELD, b"{}", b"{}")


def test_a_document_of_which_upstream_is_not_known_has_no_base() -> None:
    document = Document(1, "a/b/c", "d", "e-1", 1, 0, 0, 1, 0, Base.NONE, b"{}", None)
    document.keep_base()
    assert (document.base_state, document.known_base(), document.path) == (Base.NONE, None, "a/b/c/d")


# -- many


def test_a_document_comes_back_as_it_was_written(db: sqlite3.Connection) -> None:
    documents = Documents(db)
    written = stored(documents, "a/b/c/d", b'{"n":1}')
    assert written == Document(1, "a/b/c", "d", "e-1", 1, 100, 100, 1, 0, Base.NONE, b'{"n":1}', None)
    assert documents.get("a/b") is None
    assert Documents(db).get("a/b/c/d") == written
    assert db.execute("SELECT typeof(view), typeof(base) FROM documents").fetchone() == ("text", "null")


def test_within_a_transaction_a_document_is_one_object(db: sqlite3.Connection) -> None:
    documents = Documents(db)
    stored(documents, "a/1", b"{}")
    first = one(documents, "a/1")
    assert documents.get_ids([1]) == [first]
    assert documents.get_ids([1])[0] is first
    documents.preload(["a/1"])
    assert documents.get("a/1") is first


def test_documents_are_read_in_advance_in_any_number(db: sqlite3.Connection) -> None:
    documents = Documents(db)
    for number in range(40):
        stored(documents, f"a/{number}", b"{}")
    wanted = [f"a/{number}" for number in range(0, 80, 2)]
    found = documents.preload(wanted)
    assert {document.path for document in found} == {f"a/{number}" for number in range(0, 40, 2)}
    assert documents.get("a/40") is None
    assert one(documents, "a/1").path == "a/1"
    made = documents.create("a/40")
    assert documents.get("a/40") is made
    documents.changed("a/40", made)
    documents.flush()
    assert documents.get("a/40") is not None


def test_a_document_that_was_not_there_is_looked_for_again_in_the_next_transaction(db: sqlite3.Connection) -> None:
    documents = Documents(db)
    documents.preload(["a/1"])
    assert documents.get("a/1") is None
    documents.flush()
    Documents(db).preload([])
    stored(Documents(db), "a/1", b"{}")
    assert documents.get("a/1") is not None


def test_a_row_that_is_made_and_not_used_is_not_written(db: sqlite3.Connection) -> None:
    documents = Documents(db)
    documents.create("a/1")
    documents.flush()
    assert documents.get("a/1") is None
    assert stored(documents, "a/2", b"{}").id == 2


def test_ids_go_on_after_a_restart(db: sqlite3.Connection) -> None:
    stored(Documents(db), "a/1", b"{}")
    assert stored(Documents(db), "a/2", b"{}").id == 2


def test_settling_the_last_entry_brings_a_document_in_step(db: sqlite3.Connection) -> None:
    documents = Documents(db)
    stored(documents, "a/1", b"{}", pending=2)
    stored(documents, "a/2", b"{}", pending=2)
    stored(documents, "a/3", b"{}", pending=1)
    in_hand = one(documents, "a/3")
    paths, rest = documents.settle({1: 2, 2: 1, 3: 1}, 7, 900)
    assert (paths, sorted(rest)) == (["a/1"], [2, 3])
    assert in_hand.pending == 1, "left to the caller"
    documents.flush()
    settled = one(documents, "a/1")
    assert (settled.pending, settled.base_state, settled.base_seq, settled.checked_us) == (0, Base.SAME, 7, 900)
    assert (one(documents, "a/2").pending, one(documents, "a/2").base_state) == (2, Base.NONE)


def test_a_document_with_a_dead_entry_is_not_in_step(db: sqlite3.Connection) -> None:
    documents = Documents(db)
    document = one(documents, stored(documents, "a/1", b"{}").path)
    document.dead = 1
    documents.changed("a/1", document)
    documents.flush()
    assert documents.settle({1: 1}, 7, 900) == ([], [1])


def test_a_document_in_step_stores_its_text_once(db: sqlite3.Connection) -> None:
    documents = Documents(db)
    document = one(documents, stored(documents, "a/1", b"{}").path)
    document.base, document.base_state = b"{}", Base.HELD
    documents.in_step(document)
    documents.flush()
    assert db.execute("SELECT pending, base_state, base FROM documents").fetchall() == [(0, Base.SAME, None)]


def test_only_rows_of_documents_that_are_gone_for_everybody_are_swept(db: sqlite3.Connection) -> None:
    documents = Documents(db)
    stored(documents, "a/1", None, pending=0)
    stored(documents, "a/2", b"{}", pending=0)
    stored(documents, "a/3", None, pending=1)
    stored(documents, "a/4", None, pending=0)
    stored(documents, "a/5", None, pending=0)
    db.execute("INSERT INTO heads VALUES (4 * 4 + 1, 1, 9, 5, 5, 1, 1, 0)")
    db.execute("INSERT INTO dead_letters VALUES (4 * 5 + 3, 8, 0)")
    assert documents.sweep(10, 0, 1000) == 1
    assert db.execute("SELECT name FROM documents ORDER BY id").fetchall() == [("2",), ("3",), ("4",), ("5",)]
    db.execute("DELETE FROM heads")
    db.execute("DELETE FROM dead_letters")
    assert documents.sweep(1, 0, 1000) == 1
    assert documents.sweep(1, 0, 1000) == 1
    assert documents.sweep(1, 0, 1000) == 0


def test_a_row_is_a_sign_that_its_document_is_gone_until_its_time_has_come(db: sqlite3.Connection) -> None:
    documents = Documents(db)
    for name, checked_us in (("1", 100), ("2", 200), ("3", 300), ("4", 400), ("5", 401)):
        document = one(documents, stored(documents, f"a/{name}", None, pending=0).path)
        document.checked_us = checked_us
        documents.changed(document.path, document)
        documents.flush()
    assert documents.sweep(10, 200, 400) == 3
    assert db.execute("SELECT name FROM documents").fetchall() == [("3",), ("4",)]
