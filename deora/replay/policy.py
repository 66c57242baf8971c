"""When to try again, and how much to send after an outage. Pure: randomness comes as a number from 0 to 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MAX_DELAY_S: Final = 30.0

# The first batches after an outage: upstream has just come back, and every venue of the region sends at once.
RAMP_FIRST_WRITES: Final = 25


@dataclass(frozen=True, slots=True)
class Retry:
    """How often one call is tried before the breaker's patience decides, and the base of the growing pause."""

    attempts: int = 3
    base_s: float = 0.1


def delay_s(retry: Retry, failures: int, random: float, retry_after_s: float | None = None) -> float:
    """Seconds to wait after the `failures`th consecutive failure (1 is the first).

    Full jitter over base * 2^(failures-1), so that boxes which failed together do not return together. What upstream
    asked for by Retry-After (at least the base) is a lower bound, with up to a tenth added for the same reason.
    """
    ceiling_s = min(MAX_DELAY_S, retry.base_s * 2.0 ** min(failures - 1, 16))
    if retry_after_s is not None:
        return max(retry_after_s, retry.base_s) * (1.0 + 0.1 * random)
    return ceiling_s * random


def ramp(max_writes: int, successes: int) -> int:
    """How many writes a batch may hold after `successes` batches since the outage: it doubles with each."""
    return min(max_writes, RAMP_FIRST_WRITES << min(successes, 16))
