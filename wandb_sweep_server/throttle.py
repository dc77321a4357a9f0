"""How often a client may ask."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

_MAX_CLIENTS = 10_000


@dataclass(frozen=True)
class Rate:
    """So many requests at once, and so many per second from then on."""

    burst: int
    per_s: float


class Throttle:
    """A bucket of requests for each client; those heard of least recently are forgotten beyond 10,000."""

    def __init__(self, rate: Rate, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock_s = clock_s
        # What is left in each bucket, and when that was so.
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, client: str) -> float:
        """Count a request of a client; 0 if it may be answered, else after how many seconds the next one may."""
        now_s = self._clock_s()
        left, then_s = self._buckets.pop(client, (float(self._rate.burst), now_s))
        left = min(self._rate.burst, left + (now_s - then_s) * self._rate.per_s)
        may = left >= 1.0
        self._buckets[client] = (left - 1.0 if may else left, now_s)
        if len(self._buckets) > _MAX_CLIENTS:
            self._buckets.popitem(last=False)
        return 0.0 if may else (1.0 - left) / self._rate.per_s
