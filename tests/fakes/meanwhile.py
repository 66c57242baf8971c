"""Something that goes on beside a test, in threads of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def meanwhile(step: Callable[[], object], every_s: float, threads: int = 1) -> Iterator[None]:
    """Calls `step` again and again until the block ends, with a pause of `every_s` before each time."""
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(every_s):
            step()

    running = [threading.Thread(target=run, daemon=True) for _ in range(threads)]
    for thread in running:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in running:
            thread.join(150)
