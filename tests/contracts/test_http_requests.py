"""The gateway against every malformed, ambiguous and smuggling request of the table."""

from __future__ import annotations

import pytest

from tests.contracts.http_requests import Case, cases
from tests.fakes.clock import ManualClock
from tests.fakes.front import Client, Front, make_server, statuses
from tests.fakes.loop import run

CASES = cases()


def answered(sent: bytes, pieces: int) -> tuple[tuple[int, ...], list[bytes], bool]:
    """The statuses of what came back, the targets that were accepted, and whether the connection has ended."""

    async def main() -> tuple[tuple[int, ...], list[bytes], bool]:
        front = Front()
        async with await Client.connect(make_server(front)) as client:
            size = max(1, len(sent) // pieces)
            received = b""
            for start in range(0, len(sent), size):
                await client.send(sent[start : start + size])
                received += await client.receive()
            targets = [request.target for request in front.accepted]
            return tuple(statuses(received)), targets, client.ended

    return run(main(), ManualClock())


def test_there_are_enough() -> None:
    assert len(CASES) >= 200
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("pieces", [1, 7])
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_request_of_the_table(case: Case, pieces: int) -> None:
    found, targets, ended = answered(case.sent, pieces)
    assert found == case.statuses, case.rule
    assert b"/hidden" not in targets
    if found[-1] in (400, 413, 414, 431):
        assert ended
