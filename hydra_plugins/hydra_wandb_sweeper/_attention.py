"""What signals mean to a supervisor: Ctrl-C lets running trials end, again stops them; others make it leave."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any


class LeftSweep(BaseException):
    """The supervisor goes, and leaves the agents to themselves. The text says why."""


class Attention:
    """While entered, signals are taken note of.

    on_interrupt: called at the first Ctrl-C, in the signal handler. blocks: True if the agents run while this process
    waits in the launcher, so that only an exception gets it out of there.
    """

    def __init__(self, on_interrupt: Callable[[], None], *, blocks: bool) -> None:
        self._on_interrupt = on_interrupt
        self._blocks = blocks
        self._pid = os.getpid()
        self._before: dict[int, Any] = {}
        self._interrupts = 0
        self.last_signal: signal.Signals | None = None

    @property
    def exit_status(self) -> int:
        """The exit status by which a shell tells the signal, 1 if there was none."""
        return 128 + self.last_signal if self.last_signal is not None else 1

    def check(self) -> None:
        """Do as signals have said. Errors: KeyboardInterrupt (stop everything), LeftSweep."""
        if self._interrupts > 1:
            raise KeyboardInterrupt
        if self.last_signal not in (None, signal.SIGINT):
            raise LeftSweep(f"it got {self.last_signal.name}")

    def __enter__(self) -> Attention:
        if threading.current_thread() is not threading.main_thread():
            return self
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # nohup has SIGHUP ignored, and so do shells with background jobs' Ctrl-C.
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _take(self, number: int, _frame: FrameType | None) -> None:
        self.last_signal = signal.Signals(number)
        if number != signal.SIGINT:
            if self._blocks:
                raise KeyboardInterrupt
            return
        self._interrupts += 1
        if self._interrupts == 1:
            # Agents forked from this process have inherited the handler.
            if os.getpid() == self._pid:
                self._on_interrupt()
        elif self._blocks or self._interrupts > 2:
            raise KeyboardInterrupt
