"""Documents as canonical text and as Firestore's typed JSON (`google.firestore.v1.Value`), both ways. Pure.

    null  true  "a"          {"nullValue": null}  {"booleanValue": true}  {"stringValue": "a"}
    3  3.0                   {"integerValue": "3"}  {"doubleValue": 3.0}
    [..]  {..}               {"arrayValue": {"values": [..]}}  {"mapValue": {"fields": {..}}}
    {"$timestamp": t}        {"timestampValue": t}              Firestore keeps microseconds
    {"$bytes": b}            {"bytesValue": b}                  standard base64 on both sides
    {"$geopoint": g}         {"geoPointValue": g}               a zero may be left out in an answer
    {"$reference": path}     {"referenceValue": "projects/../documents/path"}

Three things that others may have put into Firestore and JSON cannot say come as null: NaN, the infinities, and types
that are newer than this page. A reference into another database keeps its full name, which is no document path.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import orjson

from deora.documents.tags import TAGS
from deora.documents.values import canonical, is_tagged

Json = dict[str, Any]

_NO_NUMBERS: Final = frozenset({"NaN", "Infinity", "-Infinity"})


def documents_root(project: str, database: str) -> str:
    """The resource name under which all documents of a database stand."""
    return f"projects/{project}/databases/{database}/documents"


def path_of(name: str, root: str) -> str:
    """The document path of a resource name; the name itself where it is of another database."""
    return name.removeprefix(f"{root}/")


def encode_document(data: bytes, root: str) -> Json:
    """The `fields` of a document's canonical text."""
    return {name: encode_value(value, root) for name, value in orjson.loads(data).items()}


def decode_document(fields: Json, root: str) -> bytes:
    """The canonical text of a document's `fields`. Raises ValueError, TypeError or LookupError for what are none."""
    return canonical({name: decode_value(value, root) for name, value in fields.items()})


def encode_value(value: Any, root: str) -> Json:
    """One checked value as Firestore's JSON."""
    kind = type(value)
    if kind is str:
        return {"stringValue": value}
    if kind is int:
        return {"integerValue": str(value)}
    if kind is float:
        return {"doubleValue": value}
    if kind is dict:
        if is_tagged(value):
            return _encode_tagged(value, root)
        return {"mapValue": {"fields": {name: encode_value(item, root) for name, item in value.items()}}}
    if kind is list:
        return {"arrayValue": {"values": [encode_value(item, root) for item in value]}}
    return {"nullValue": None} if value is None else {"booleanValue": value}


def decode_value(value: Json, root: str) -> Any:
    """One value of Firestore's JSON. Raises ValueError, TypeError or LookupError for what is none."""
    ((kind, content),) = value.items()
    decode = _DECODERS.get(kind)
    return decode(content, root) if decode is not None else None


def timestamp(text: str) -> str:
    """A time as Firestore writes it (no, three, six or nine fraction digits) with six: such texts sort as times do."""
    normal: str = TAGS["$timestamp"]({"$timestamp": text})["$timestamp"]
    return normal


def _encode_tagged(tagged: Json, root: str) -> Json:
    ((tag, content),) = tagged.items()
    if tag == "$timestamp":
        return {"timestampValue": content}
    if tag == "$bytes":
        return {"bytesValue": content}
    if tag == "$geopoint":
        return {"geoPointValue": content}
    return {"referenceValue": f"{root}/{content}"}


def _double(content: Any, _: str) -> float | None:
    # A whole double may come without a point, "-0" included.
    return None if content in _NO_NUMBERS else float(content)


def _geopoint(content: Json, _: str) -> Json:
    return {"$geopoint": {name: float(content.get(name, 0.0)) for name in ("latitude", "longitude")}}


def _array(content: Json, root: str) -> list[Any]:
    return [decode_value(item, root) for item in content.get("values", ())]


def _map(content: Json, root: str) -> Json:
    return {name: decode_value(item, root) for name, item in content.get("fields", {}).items()}


_DECODERS: Final[dict[str, Callable[[Any, str], Any]]] = {
    "nullValue": lambda _, __: None,
    "booleanValue": lambda content, _: bool(content),
    "integerValue": lambda content, _: int(content),
    "doubleValue": _double,
    "timestampValue": lambda content, _: {"$timestamp": timestamp(content)},
    "stringValue": lambda content, _: str(content),
    "bytesValue": lambda content, _: TAGS["$bytes"]({"$bytes": content}),
    "referenceValue": lambda content, root: {"$reference": path_of(content, root)},
    "geoPointValue": _geopoint,
    "arrayValue": _array,
    "mapValue": _map,
}
