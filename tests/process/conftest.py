"""Real instances for process tests: started on free ports, and ended with a look at what they leave behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from bench.instance import Instance


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Callable[..., Instance]]:
    """`instance(queue={"max_entries": 10})` starts DEORA with that queue.json and returns it once all of it is up.

    Each has a directory of its own, but `instance(on=old)` takes that of one that has ended, or that path. At the end
    each is stopped by SIGTERM and must exit with 0 and leave no process; of one that the test itself has ended, only
    the latter is asked. `before` is a program that becomes the instance.
    """
    started: list[Instance] = []

    def start(
        on: Instance | Path | None = None,
        before: Sequence[str] = (),
        **config: Any,
    ) -> Instance:
        named = on.directory if isinstance(on, Instance) else on
        directory = named or tmp_path / f"instance-{len(started) + 1}"
        one = Instance(directory, config, before=before)
        started.append(one)
        one.wait_until_ready()
        one.wait_until_whole()
        return one

    try:
        yield start
        complaints = [complaint for one in started for complaint in stop(one)]
    finally:
        for one in started:
            one.stop()
    assert not complaints, "\n".join(complaints)


def stop(one: Instance) -> list[str]:
    """End an instance as an operator would; what was wrong with that."""
    ended_by_the_test = one.ended() is not None
    tree = one.tree()
    code = one.terminate()
    complaints = [f"{process} outlived its supervisor" for process in {*tree, *one.tree()} if is_running(process)]
    if code != 0 and not ended_by_the_test:
        how = "did not end in time" if code is None else f"exited with {code}"
        complaints.append(f"after SIGTERM the instance {how}; it printed:\n{one.printed()}")
    return complaints


def is_running(process: psutil.Process) -> bool:
    """Whether a process still runs; one that has ended and waits to be reaped by its parent does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
