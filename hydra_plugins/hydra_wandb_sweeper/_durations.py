"""How long a sweep's trials take at most, as one agent knows: of its own, and of the others by the ledger."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ._events import EventReader
from ._outcome import FINISHED


class Durations:
    """Of the trials that have finished. reader: of the sweep's events.

    The ledger is read again only when it matters more than before: each time that half of the job's remaining time
    has passed. What was read at an agent's start says little: only the shortest trials had finished by then.
    """

    def __init__(self, reader: EventReader) -> None:
        self._reader = reader
        self._longest_s: float | None = None
        self._looked_left_s = math.inf

    def add(self, duration_s: float) -> None:
        """A trial of this agent's own has finished."""
        self._longest_s = max(duration_s, self._longest_s or 0.0)

    def longest_s(self, left_s: float) -> float | None:
        """Return the longest so far, in seconds, None before any. left_s: until the end of the agent's job."""
        if left_s <= self._looked_left_s / 2:
            self._looked_left_s = left_s
            for event in self._reader.new_events():
                if _tells(event):
                    self.add(float(event["duration_s"]))
        return self._longest_s


def _tells(event: Mapping[str, Any]) -> bool:
    return event["event"] == "ended" and event["state"] == FINISHED and bool(event["duration_s"])
