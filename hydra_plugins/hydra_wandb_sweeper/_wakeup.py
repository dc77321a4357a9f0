"""What an agent waits with."""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Callable


class Wakeup:
    """An event that a signal handler may set and that a wait on file descriptors notices.

    on_wait: called before every wait. Whatever an agent waits for, it waits for here, and not for long at a time.
    """

    def __init__(self, on_wait: Callable[[], None] = lambda: None) -> None:
        self._on_wait = on_wait
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)

    def set(self) -> None:
        """Wake whoever waits, now and from now on."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._write, b"!")

    def wait(self, timeout_s: float) -> bool:
        """Wait until set; False after timeout_s."""
        self._on_wait()
        return bool(select.select([self._read], [], [], timeout_s)[0])

    def sleep(self, seconds: float) -> None:
        """Wait until set, for `seconds` at most."""
        self.wait(seconds)

    def wait_with(self, descriptor: int, timeout_s: float) -> None:
        """Wait until set, until `descriptor` is readable, or for timeout_s."""
        self._on_wait()
        select.select([self._read, descriptor], [], [], timeout_s)

    def wait_for(self, descriptor: int, timeout_s: float) -> None:
        """Wait until `descriptor` is readable, set or not, or for timeout_s."""
        self._on_wait()
        select.select([descriptor], [], [], timeout_s)
