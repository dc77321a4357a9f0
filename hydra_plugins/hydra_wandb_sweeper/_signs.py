"""Signs of life: what tells an agent that hangs from one that works. A file per agent, touched as it goes on."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

DIRECTORY = "signs"
# Often enough for any limit that may be set, and seldom enough for a network file system with a thousand agents.
_EVERY_S = 10.0


class SignOfLife:
    """One agent's, given by whatever it does between two waits. root: the ledger's directory."""

    def __init__(self, root: Path, agent: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = root / DIRECTORY / agent
        self._clock = clock
        self._given_s = float("-inf")

    def give(self) -> None:
        """Say that the agent goes on, unless it has just said so."""
        now = self._clock()
        if now - self._given_s < _EVERY_S:
            return
        self._given_s = now
        # An agent that can't write there can't write to the ledger either, and that has the better words for it.
        with contextlib.suppress(OSError):
            self._path.touch()


class Signs:
    """The agents' signs as another process sees them.

    limit_s: silence from which on an agent is taken to hang; None = none ever is. Time counts from when this process
    first saw a sign: clocks of nodes and of file servers differ, so that only a sign's change means something.
    """

    def __init__(self, root: Path, limit_s: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._directory = root / DIRECTORY
        self.limit_s = limit_s
        self._clock = clock
        self._seen: dict[str, tuple[int, float]] = {}
        self._looked_s = float("-inf")

    @property
    def is_due(self) -> bool:
        """True if it is time to look at the agents again."""
        return self.limit_s is not None and self._clock() - self._looked_s >= self.limit_s / 10

    def silent(self, agents: list[str]) -> set[str]:
        """Return those of the agents that are silent, each of them once per limit_s.

        Agents that give no signs at all, as they can't, are not silent.
        """
        now = self._clock()
        if self.limit_s is None:
            return set()
        if now - self._looked_s > self.limit_s / 2:
            # This process was stopped itself, and the agents perhaps with it.
            self._seen.clear()
        self._looked_s = now
        marks = {agent: mark for agent in agents if (mark := self._mark(agent)) is not None}
        self._seen = {agent: self._last_change(agent, mark, now) for agent, mark in marks.items()}
        silent = {agent for agent, (_, since_s) in self._seen.items() if now - since_s >= self.limit_s}
        self._seen |= {agent: (self._seen[agent][0], now) for agent in silent}
        return silent

    def _last_change(self, agent: str, mark: int, now: float) -> tuple[int, float]:
        seen = self._seen.get(agent)
        return seen if seen is not None and seen[0] == mark else (mark, now)

    def _mark(self, agent: str) -> int | None:
        try:
            return os.stat(self._directory / agent).st_mtime_ns
        except OSError:  # there is none, or a network file system can't say now
            return None
