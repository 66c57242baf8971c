"""A request's flags as its frame carries them."""

from __future__ import annotations

import pytest

from deora.gateway.access import Scope
from deora.wire.frames import FLAG_CLOSE, FLAG_GZIP, FLAG_HEAD, FLAG_SCOPE_MASK
from tests.fakes.star import incoming


@pytest.mark.parametrize("scope", list(Scope))
def test_the_scope_and_what_the_answer_is_to_be(scope: Scope) -> None:
    request = incoming("GET", "/", scope=scope)
    assert request.flags == request.flags & FLAG_SCOPE_MASK == scope
    request.close = request.head = request.gzip = True
    assert request.flags == scope | FLAG_CLOSE | FLAG_HEAD | FLAG_GZIP
