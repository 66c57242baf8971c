"""What operators do to the queue."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from deora.store import operations
from deora.store.service import Settings
from deora.wire.frames import Decoder
from tests.fakes.store import StoreFile, decode_group, encode_commit, encode_operation, set_, settings_with

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


def test_retry_dead_takes_all_of_them_and_clients_come_between(
    store: StoreFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "RETRIED_AT_ONCE", 3)
    monkeypatch.setattr(operations, "KEPT_SHOWN", 1)
    for number in range(10):
        store.commit(set_(f"a/{number}", {}))
    for _ in range(10):
        store.kill()
    for number in (1, 2, 3):
        store.commit(set_(f"a/{number}", {"later": True}))
    answers = store.handle(encode_operation(900, "retryDead", None)).answers
    groups = 1
    while 900 not in answers:
        assert store.service.wait_s(10) == 0
        ident = next(store.ids)
        answers = store.handle(encode_commit(ident, [set_("b/1", {})])).answers
        assert answers[ident].problem is None
        groups += 1
    assert groups > 4
    value = answers[900].value
    assert (value["retried"], len(value["kept"]), value["keptMore"]) == (7, 1, 2)
    assert len(store.rows("SELECT id FROM entries WHERE state = 2")) == 3


def test_retry_dead_of_a_disk_that_is_full_is_to_be_asked_again(store: StoreFile) -> None:
    store.commit(set_("a/1", {}))
    store.kill()
    frame = Decoder().feed(encode_operation(900, "retryDead", None))
    store.service.handle(frame)
    answers = decode_group(store.service.refuse_full([])).answers
    problem = answers[900].problem
    assert problem is not None
    assert problem.status == 503


def test_a_drop_leaves_the_last_commit_of_a_document(store: StoreFile) -> None:
    """What was written between may be applied and pruned: an older dead entry still needs `force` after it."""
    store.commit(set_("a/1", {"n": 1}))
    older = store.kill()
    store.commit(set_("a/1", {"n": 2}))
    store.deliver()
    store.reopen()
    store.commit(set_("a/1", {"n": 3}))
    assert store.operate("drop", store.kill()).problem is None
    assert store.column("a/1", "commit_no") == 3
    refused = store.operate("retry", older, False).problem
    assert refused is not None
    assert refused.status == 409


def test_a_loss_is_accepted_of_one_upstream_that_has_one(store: StoreFile) -> None:
    for name, status in (("primary", 409), ("tertiary", 404)):
        problem = store.operate("acceptLoss", name).problem
        assert problem is not None
        assert problem.status == status
