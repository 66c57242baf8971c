"""What the README shows is what a new user gets."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable

import pytest

from bench.instance import Instance
from tests.process.readme_example import README, URL, run, steps

VARIES = [
    (re.compile(r'"[0-9a-z]{8}-\d+"'), '"VERSION"'),
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z"), "TIME"),
    (re.compile(r'("(?:oldest_s|in_per_s|out_per_s|drain_eta_s)"):[\d.a-z]+'), r"\1:0"),
    (re.compile(r'"(?:pending":(?:true|false)|replication":"(?:pending|done)")'), "REPLICATION"),
]

UNTIL_DRAINED = f"""until curl -s {URL}/v1/queue | grep -q '"pending":0,"inflight":0,'; do sleep 0.02; done"""


def normal(text: str) -> str:
    """The output without what differs from one run to the next."""
    for pattern, replacement in VARIES:
        text = pattern.sub(replacement, text)
    return text


@pytest.mark.skipif(shutil.which("curl") is None, reason="the example is run with curl, which is not installed here")
def test_the_example_prints_what_the_readme_shows(instance: Callable[..., Instance]) -> None:
    shown = steps(README.read_text(encoding="utf-8"))
    one = instance()
    commands = [
        command.replace(URL, one.url).replace("deora status", f"deora status --data {one.data}") for command, _ in shown
    ]
    # A user takes longer to type the next command than what was written before takes to reach upstream; this test, on
    # a busy machine, does not.
    [pause] = [index for index, command in enumerate(commands) if ":pause" in command]
    commands[pause] = f"{UNTIL_DRAINED.replace(URL, one.url)}\n{commands[pause]}"
    for (command, expected), output in zip(shown, run(commands), strict=True):
        if "deora status" in command:
            assert [line.split()[:1] for line in expected.splitlines()] == [
                line.split()[:1] for line in output.splitlines()
            ]
        else:
            assert normal(output) == normal(expected), command
