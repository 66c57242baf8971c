"""The queue's figures."""

from __future__ import annotations

from tests.fakes.store import StoreFile, set_


def test_the_oldest_entry_is_looked_up_again_when_it_may_be_another_one(store: StoreFile) -> None:
    store.commit(set_("a/1", {}))
    store.clock.advance(30)
    store.commit(set_("a/2", {}))
    figures = store.service._figures
    assert figures.show()["upstreams"]["primary"]["oldest_since_s"] == 0
    store.db.execute("UPDATE entries SET running_s = 7 WHERE id = 1")
    assert figures.show()["upstreams"]["primary"]["oldest_since_s"] == 0
    figures.look_again("primary")
    assert figures.show()["upstreams"]["primary"]["oldest_since_s"] == 7
    store.db.execute("UPDATE entries SET running_s = 8 WHERE id = 1")
    figures.look_again()
    assert figures.show()["upstreams"]["primary"]["oldest_since_s"] == 8
    store.deliver()
    shown = figures.show()["upstreams"]["primary"]
    assert (shown["oldest_since_s"], shown["done"], shown["accepted"]) == (None, 2, 2)
