"""Pages of an import in the store: what comes in, what is passed over, and what clients then see."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from deora.documents.writes import Write, encode_writes
from deora.store.imports import APPLIED, DEAD, PENDING
from deora.store.service import Settings
from tests.fakes.recount import check_figures
from tests.fakes.store import Answer, StoreFile, create, delete, encode_operation, set_, settings_with, update

MakeStore = Callable[[Settings], StoreFile]
OLD = ["primary", "old", "e1"]


def entry(number: int, *writes: Write, fate: int = PENDING, source: int = 0, commit: int | None = None) -> list[Any]:
    error = "no" if fate == DEAD else None
    at = number if commit is None else commit
    return [source, fate, number, 5, 77, at, 1, error, encode_writes(list(writes) or [set_("a/1", {"n": number})])]


def bring(store: StoreFile, *entries: list[Any], sources: list[list[str]] | None = None) -> Answer:
    return store.operate("import", sources or [OLD], list(entries))


def counts(answer: Answer) -> tuple[int, int, int]:
    assert answer.problem is None, answer.problem
    return answer.value["imported"], answer.value["alreadyUpstream"], answer.value["alreadyHere"]


def increment(path: str) -> Write:
    return update(path, {"n": {"$increment": 1}}, upsert=True)


def test_what_upstream_lacks_comes_in_once(store: StoreFile) -> None:
    page = [entry(4), entry(5, fate=APPLIED), entry(7, fate=DEAD), entry(6)]
    assert counts(bring(store, *page)) == (3, 1, 0)
    check_figures(store.db, store.service.outbox)
    assert counts(bring(store, *page)) == (0, 1, 3)
    assert store.deliver() == [4, 6]
    assert counts(bring(store, *page)) == (0, 1, 3), "also what was sent meanwhile"
    assert counts(bring(store, *page, entry(8), entry(8))) == (1, 1, 4)


def test_what_was_dropped_retried_or_pruned_does_not_come_back(make_store: MakeStore) -> None:
    store = make_store(settings_with(retention_s=0))
    bring(store, *(entry(number, fate=DEAD) for number in (1, 2, 3)))
    store.operate("drop", 1)
    store.operate("retry", 2, True)
    assert store.deliver() == [2], "its number stays: it is its origin's"
    store.clock.advance(100)
    store.service.housekeep()
    assert store.states() == {3: 2}
    assert counts(bring(store, *(entry(number) for number in (1, 2, 3)))) == (0, 0, 3)


def test_own_entries_are_known_by_their_numbers(store: StoreFile) -> None:
    node, epoch = store.service.identity
    own = [["primary", node, epoch]]
    for number in range(3):
        store.commit(set_("a/1", {"n": number}))
    store.deliver()
    assert counts(bring(store, entry(1), entry(3, fate=APPLIED), sources=own)) == (0, 1, 1)
    refused = bring(store, entry(4), sources=own)
    assert refused.problem is not None
    assert "entry 4 of this very store, which has accepted 3" in refused.problem.detail
    # An earlier life of this box is another origin.
    assert counts(bring(store, entry(1), sources=[["primary", node, "earlier"]])) == (1, 0, 0)


def test_views_show_what_came_in_and_bases_do_not(store: StoreFile) -> None:
    store.commit(set_("a/held", {"n": 5}))
    store.deliver()
    answer = bring(
        store,
        entry(1, increment("a/held"), increment("a/new")),
        entry(2, update("a/lost", {"n": 1})),
        entry(3, increment("a/held"), fate=DEAD),
        entry(4, delete("a/new"), create("a/made", {"n": 1})),
    )
    assert counts(answer) == (4, 0, 0)
    assert [store.view(path) for path in ("a/held", "a/new", "a/lost", "a/made")] == [{"n": 7}, None, None, {"n": 1}]
    assert store.column("a/held", "base") == '{"n":5}'
    assert (store.column("a/held", "pending"), store.column("a/held", "dead")) == (1, 1)
    store.operate("drop", 4)
    assert store.view("a/held") == {"n": 6}
    store.deliver()
    assert store.view("a/held") == {"n": 6}
    assert (store.column("a/held", "pending"), store.column("a/held", "dead")) == (0, 0)


def test_workers_hear_of_it(store: StoreFile) -> None:
    group = store.handle(encode_operation(9000, "import", [OLD], [entry(1, increment("a/1"))]))
    assert group.notices() == ["a/1"]
    assert group.events("queue")[0]["upstreams"]["primary"]["pending"] == 1


def test_entries_of_one_commit_stay_one(make_store: MakeStore) -> None:
    store = make_store(settings_with(("primary", "secondary")))
    sources = [OLD, ["secondary", "old", "e1"]]
    page = [entry(1, commit=9), entry(1, source=1, commit=9), entry(2, commit=10), entry(2, source=1, commit=11)]
    assert counts(bring(store, *page, sources=sources)) == (4, 0, 0)
    assert [row[0] for row in store.rows("SELECT commit_no FROM entries ORDER BY id")] == [1, 1, 2, 3]
    assert store.deliver("secondary") == [1, 2]
    assert store.deliver() == [1, 2]
    assert store.column("a/1", "pending") == 0


def test_what_is_for_another_upstream_changes_no_view(make_store: MakeStore) -> None:
    store = make_store(settings_with(("primary", "secondary")))
    store.commit(set_("a/1", {"n": 0}))
    bring(store, entry(1, increment("a/1")), sources=[["secondary", "old", "e1"]])
    assert store.view("a/1") == {"n": 0}
    assert store.column("a/1", "pending") == 1
    assert store.deliver("secondary") == [1, 1]


def test_a_retry_needs_force_where_later_entries_came_in(store: StoreFile) -> None:
    bring(store, entry(1, fate=DEAD), entry(2))
    refused = store.operate("retry", 1, False)
    assert refused.problem is not None
    assert refused.problem.status == 409


@pytest.mark.parametrize("limit", [{"max_entries": 2}, {"max_bytes": 250}])
def test_a_page_that_does_not_fit_is_refused_whole(make_store: MakeStore, limit: dict[str, Any]) -> None:
    store = make_store(settings_with(**limit))
    refused = bring(store, *(entry(number) for number in (1, 2, 3)))
    assert refused.problem is not None
    assert (refused.problem.kind, refused.problem.status) == ("queue-full", 507)
    assert store.states() == {}
    assert counts(bring(store, entry(1))) == (1, 0, 0)
    assert counts(bring(store, entry(1), entry(2, fate=APPLIED))) == (0, 1, 1), "what need not come in needs no room"


def test_an_upstream_that_is_not_configured_is_refused(store: StoreFile) -> None:
    refused = bring(store, entry(1), sources=[["tertiary", "old", "e1"]])
    assert refused.problem is not None
    assert refused.problem.status == 409
    assert "'tertiary'; configured here: primary" in refused.problem.detail
