"""Our requests, read by Google's own protobuf definitions: no unknown field, no wrong type, no two of a oneof."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deora.documents.writes import Write, encode_writes
from deora.upstream.base import CursorKey, Delivery
from deora.upstream.firestore.cursors import FIELDS, cursor_write, moves
from deora.upstream.firestore.queries import BEGIN, batch_get, run_query
from deora.upstream.firestore.values import decode_document, documents_root, encode_document
from deora.upstream.firestore.writes import plan
from tests.fakes.documents import DOCUMENTS, WRITES

WHY = "google-cloud-firestore is not installed (pip install 'deora[dev]'): nothing is read by its protobuf definitions"
types = pytest.importorskip("google.cloud.firestore_v1.types", reason=WHY)
json_format = pytest.importorskip("google.protobuf.json_format", reason=WHY)

ROOT = documents_root("p", "(default)")


def parsed(body: Any, message: Any) -> Any:
    """The message that Google's definitions read from the body as it is sent. Raises json_format.ParseError."""
    return json_format.Parse(orjson.dumps(body), message.pb()())


def test_a_wrong_field_would_be_found() -> None:
    with pytest.raises(json_format.ParseError):
        parsed({"writes": [{"updateTransform": []}]}, types.CommitRequest)


@given(st.lists(WRITES, max_size=4), st.sampled_from([None, "2026-01-31T12:00:00.123456Z"]))
def test_commits(writes: list[Write], update_time: str | None) -> None:
    delivery = Delivery(CursorKey("n", "e", 0), 7, "b7", "b8", b"\0\xff", [encode_writes(writes)])
    planned = plan(delivery.payloads, ROOT)
    body = {"writes": [cursor_write(delivery.key, moves(delivery)[delivery.key], update_time, ROOT), *planned.writes]}
    request = parsed(body, types.CommitRequest)
    assert len(request.writes) == 1 + len(planned.writes)
    assert request.writes[0].update.fields["seq"].integer_value == 8
    for write, sent in zip(request.writes[1:], planned.writes, strict=True):
        assert write.WhichOneof("operation") in ("update", "delete")
        assert write.HasField("update_mask") == ("updateMask" in sent)


@given(DOCUMENTS)
def test_documents_survive_googles_types(document: dict[str, Any]) -> None:
    data = orjson.dumps(document, option=orjson.OPT_SORT_KEYS)
    message = parsed({"name": f"{ROOT}/a/1", "fields": encode_document(data, ROOT)}, types.Document)
    answered = orjson.loads(json_format.MessageToJson(message))
    assert decode_document(answered.get("fields", {}), ROOT) == data


def test_reads() -> None:
    assert parsed(BEGIN, types.BeginTransactionRequest).options.HasField("read_only")
    for body in (
        batch_get(["a/1"], ROOT, begin=True),
        batch_get(["a/1"], ROOT, transaction="dA==", mask=FIELDS),
    ):
        assert list(parsed(body, types.BatchGetDocumentsRequest).documents) == [f"{ROOT}/a/1"]
    query = parsed(run_query("a", ROOT, "a/1", 5, names=True, transaction="dA=="), types.RunQueryRequest)
    assert query.structured_query.limit.value == 5
