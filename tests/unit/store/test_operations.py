"""What operators do to the queue."""

from __future__ import annotations

from collections.abc import Callable

from deora.store.service import Settings
from tests.fakes.store import StoreFile, set_, settings_with

MakeStore = Callable[[Settings], StoreFile]


def test_an_unknown_upstream_is_refused(store: StoreFile) -> None:
    for operation in (("pause", "tertiary", True), ("retryDead", "tertiary")):
        answer = store.operate(*operation)
        assert answer.problem is not None
        assert answer.problem.status == 404
        assert "primary" in answer.problem.detail


def test_retry_and_drop_answer_with_the_entry(store: StoreFile) -> None:
    store.commit(set_("a/1", {}))
    dead = store.kill()
    assert store.operate("retry", dead, False).value == {"id": dead, "state": "pending"}
    assert store.kill() == dead
    assert store.operate("drop", dead).value == {"id": dead, "dropped": True}
    assert store.states() == {}


def test_retry_dead_sends_again_what_nothing_has_overtaken(make_store: MakeStore) -> None:
    store = make_store(settings_with(("primary", "secondary")))
    for path in ("a/1", "a/2"):
        store.commit(set_(path, {}))
    dead = [store.kill() for _ in range(2)]
    store.kill(upstream="secondary")
    store.commit(set_("a/1", {"n": 1}))
    answer = store.operate("retryDead", "primary")
    assert answer.value["retried"] == 1
    assert [kept["id"] for kept in answer.value["kept"]] == [dead[0]]
    assert "a/1" in answer.value["kept"][0]["detail"]
    assert store.operate("retryDead", None).value["retried"] in (0, 1)


def test_retry_dead_takes_the_oldest_of_each_upstream(make_store: MakeStore) -> None:
    store = make_store(settings_with(("primary", "secondary")))
    store.commit(set_("a/1", {}))
    for name in ("primary", "secondary"):
        store.kill(upstream=name)
    assert store.operate("retryDead", None).value == {"retried": 2, "kept": []}
    assert store.operate("retryDead", None).value == {"retried": 0, "kept": []}


def test_pause_is_of_one_upstream_or_of_all(make_store: MakeStore) -> None:
    store = make_store(settings_with(("primary", "secondary")))
    assert store.operate("pause", "secondary", True).value == {"paused": True, "upstreams": ["secondary"]}
    assert store.rows("SELECT name, paused FROM upstreams") == [("primary", 0), ("secondary", 1)]
    assert store.operate("pause", None, True).value["upstreams"] == ["primary", "secondary"]
    assert store.operate("pause", None, False).value["paused"] is False
    assert store.rows("SELECT paused FROM upstreams") == [(0,), (0,)]
