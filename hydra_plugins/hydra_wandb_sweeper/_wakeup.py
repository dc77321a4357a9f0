"""What an agent waits with."""

from __future__ import annotations

import contextlib
import math
import os
import select
import time
from collections.abc import Callable, Sequence


class Wakeup:
    """An event that a signal handler may set and that a wait on file descriptors notices.

    on_wait: called before every wait, and every tick_s of it. Whatever an agent waits for, it waits for here, and not
    for long at a time.
    """

    def __init__(self, on_wait: Callable[[], None] = lambda: None, tick_s: float = math.inf) -> None:
        self.on_wait = on_wait
        self._tick_s = tick_s
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)

    @property
    def has_onlooker(self) -> bool:
        """True if somebody wants to look on all the time, and not only before a wait."""
        return self._tick_s < math.inf

    def set(self) -> None:
        """Wake whoever waits, now and from now on."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._write, b"!")

    def wait(self, timeout_s: float) -> bool:
        """Wait until set; False after timeout_s."""
        return self._select([self._read], timeout_s)

    def sleep(self, seconds: float) -> None:
        """Wait until set, for `seconds` at most."""
        self.wait(seconds)

    def wait_with(self, descriptors: Sequence[int], timeout_s: float) -> None:
        """Wait until set, until one of `descriptors` is readable, or for timeout_s."""
        self._select([self._read, *descriptors], timeout_s)

    def wait_for(self, descriptor: int, timeout_s: float) -> None:
        """Wait until `descriptor` is readable, set or not, or for timeout_s."""
        self._select([descriptor], timeout_s)

    def _select(self, descriptors: list[int], timeout_s: float) -> bool:
        deadline_s = time.monotonic() + timeout_s
        while True:
            self.on_wait()
            left_s = deadline_s - time.monotonic()
            ready = select.select(descriptors, [], [], max(0.0, min(left_s, self._tick_s)))[0]
            if ready or left_s <= self._tick_s:
                return bool(ready)
