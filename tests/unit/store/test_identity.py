"""Who a store is."""

from __future__ import annotations

import sqlite3

from deora.store.database import migrate
from deora.store.identity import Progress, load_identity, new_batch_id


def fresh() -> sqlite3.Connection:
    """A new store's file, in memory."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    migrate(db)
    return db


def test_a_new_file_gets_a_name_that_can_be_read_out() -> None:
    names = set()
    for _ in range(50):
        db = fresh()
        (node, epoch), progress = load_identity(db)
        assert (len(node), len(epoch)) == (10, 8)
        assert not set(node + epoch) - set("0123456789abcdefghjkmnpqrstvwxyz")
        assert progress == Progress(epoch, 0, 0, 0)
        names.add(node)
        db.close()
    assert len(names) == 50


def test_the_name_stays() -> None:
    db = fresh()
    first = load_identity(db)
    db.execute("UPDATE progress SET commit_no = 7, entry_id = 9, running_s = 11")
    identity, progress = load_identity(db)
    assert identity == first[0]
    assert progress == Progress(identity[1], 7, 9, 11)
    db.close()


def test_a_version_is_made_of_epoch_and_commit() -> None:
    assert Progress("e", 7, 0, 0).version() == "e-7"


def test_no_two_batches_are_named_alike() -> None:
    assert len({new_batch_id() for _ in range(100)}) == 100
