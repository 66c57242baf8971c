"""docs/openapi.yaml as tests read it."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import jsonschema_rs
import yaml

from bench.instance import PROJECT

FILE: Final = PROJECT / "docs" / "openapi.yaml"


@cache
def described() -> dict[str, Any]:
    """The file's content. Read when a test asks for it, since it takes a while, and every runner collects."""
    content: dict[str, Any] = yaml.load(FILE.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    return content


def complaints(schema: dict[str, Any], value: Any) -> list[str]:
    """What a schema of the file has against a value."""
    validator = jsonschema_rs.validator_for({**schema, "components": described()["components"]})
    return [complaint.message for complaint in validator.iter_errors(value)]
