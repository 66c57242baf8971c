"""How much of this box one client may use. Pure: time comes as an argument."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

# Clients whose windows are remembered at once; with more of them the oldest windows are forgotten first.
KEYS_AT_MOST: Final = 10_000

# A body must come at least this fast, once it has had the time of a head.
BODY_BYTES_PER_S: Final = 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a request may be, in bytes, and how long a head or a silence may take, in seconds.

    `connections` is how many one address may have open at a time; 0 is without a limit.
    """

    body_bytes: int
    head_bytes: int
    target_bytes: int
    head_timeout_s: float
    idle_timeout_s: float = 75.0
    connections: int = 0

    def body_is_slow(self, taken_s: float, received_bytes: int) -> bool:
        """Whether a body of which so much has come in this time is held back on purpose, or as good as."""
        return taken_s > self.head_timeout_s + received_bytes / BODY_BYTES_PER_S


class Budget:
    """At most `allowed` events of one key within a window of `window_s` seconds, which begins with its first one."""

    def __init__(self, allowed: int, window_s: float) -> None:
        self._allowed = allowed
        self._window_s = window_s
        self._windows: dict[str, tuple[float, int]] = {}

    def remember(self, former: Budget) -> None:
        """Goes on with the windows of a budget that was here before."""
        self._windows = former._windows

    def spend(self, key: str, now_s: float) -> int:
        """Counts one event: 0 where it is allowed, else the seconds until the next one will be."""
        left_s = self.exhausted(key, now_s)
        if left_s:
            return left_s
        start_s, count = self._windows.get(key, (now_s, 0))
        if now_s - start_s >= self._window_s:
            start_s, count = now_s, 0
        if count == 0:
            self._make_room(key, now_s)
        self._windows[key] = start_s, count + 1
        return 0

    def exhausted(self, key: str, now_s: float) -> int:
        """The whole seconds until this key's next event is allowed; 0 where it is now. Counts nothing."""
        start_s, count = self._windows.get(key, (now_s, 0))
        left_s = start_s + self._window_s - now_s
        return math.ceil(left_s) if count >= self._allowed and left_s > 0 else 0

    def _make_room(self, key: str, now_s: float) -> None:
        # Windows stand in the order in which they began, so those that are over stand first.
        self._windows.pop(key, None)
        while self._windows:
            oldest = next(iter(self._windows))
            if len(self._windows) < KEYS_AT_MOST and now_s - self._windows[oldest][0] < self._window_s:
                return
            del self._windows[oldest]
