"""Several agents in one job, a process each: told what the job is told, and replaced if they die or hang."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import Callable, Sequence
from typing import Any

from ._signs import Signs

log = logging.getLogger(__name__)

# How often one agent's place is filled again: what kills an agent for the third time will do so once more.
_MOST_RESTARTS = 2


class SideBySide:
    """names: of the agents. start: starts one, by its place and its name, and returns its process.

    on_death: told of an agent whose process has died, before another one takes its place. signs: of their lives.
    on_wait: called every tick_s while they run.
    """

    def __init__(
        self,
        names: Sequence[str],
        start: Callable[[int, str], Any],
        on_death: Callable[[str], None],
        signs: Signs,
        on_wait: Callable[[], None] | None = None,
        tick_s: float = 1.0,
    ) -> None:
        self._on_wait = on_wait
        self._tick_s = tick_s
        self._signs = signs
        self._names = list(names)
        self._start = start
        self._on_death = on_death
        self._restarts = [0] * len(names)
        self._running: dict[Any, int] = {}
        self._is_stopping = False

    def run(self) -> None:
        """Return when all have ended. Ctrl-C in this process (KeyboardInterrupt) ends them first."""
        for place, name in enumerate(self._names):
            self._running[self._start(place, name)] = place
        try:
            self._wait()
        except KeyboardInterrupt:
            self.signal("SIGTERM")
            for process in list(self._running):
                process.join()
            raise

    def signal(self, name: str) -> None:
        """Pass a signal on: each agent knows what it means for it. May be called from a signal handler."""
        if name == "SIGINT":
            return  # Ctrl-C goes to every process of the terminal, so to the agents as well
        self._is_stopping = self._is_stopping or name == "SIGTERM"
        for process in list(self._running):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.Signals[name])

    def _wait(self) -> None:
        from multiprocessing.connection import wait

        look_s = self._signs.limit_s / 10 if self._signs.limit_s is not None else None
        if self._on_wait is not None:
            look_s = self._tick_s if look_s is None else min(self._tick_s, look_s)
        while self._running:
            if self._on_wait is not None:
                self._on_wait()
            ended = set(wait([process.sentinel for process in self._running], look_s))
            self._kill_silent()
            for process in [p for p in self._running if p.sentinel in ended]:
                process.join()
                place = self._running.pop(process)
                if process.exitcode != 0:
                    self._replace(place, process.exitcode)

    def _kill_silent(self) -> None:
        if not self._signs.is_due:
            return
        processes = {self._names[place]: process for process, place in self._running.items()}
        for name in self._signs.silent(list(processes)):
            log.error("Agent %s has given no sign of life for %.0f s; it is killed.", name, self._signs.limit_s)
            processes[name].kill()

    def _replace(self, place: int, exit_code: int) -> None:
        name = self._names[place]
        log.error("Agent %s died (exit status %d).", name, exit_code)
        self._on_death(name)
        if self._is_stopping or self._restarts[place] == _MOST_RESTARTS:
            return
        self._restarts[place] += 1
        self._names[place] = f"{name.partition('x')[0]}x{self._restarts[place]}"
        log.info("Agent %s takes its place.", self._names[place])
        self._running[self._start(place, self._names[place])] = place
