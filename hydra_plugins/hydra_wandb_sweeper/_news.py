"""What a supervisor hears of a sweep: new events, taken into its history."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ._events import EventReader, in_batches
from ._history import AgentHistory, History

# Events are read later the longer there were none: by so much of that time, and at most by so much. Each look opens a
# file per agent, on what is a network file system where there are many of them.
_LATE = 0.01
_LATEST_S = 5.0

Tell = Callable[[Sequence[Mapping[str, Any]]], None]


@dataclass
class Heard:
    """What is to be acted upon. jobs_of_others: numbers of jobs that other processes have submitted."""

    jobs_of_others: list[int] = field(default_factory=list)
    dead_agents: list[AgentHistory] = field(default_factory=list)
    has_ended_agent: bool = False


class News:
    """Reads events into a history. writer: whose own submissions are no news."""

    def __init__(
        self, reader: EventReader, history: History, writer: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._reader = reader
        self._history = history
        self._writer = writer
        self._clock = clock
        self._last_s = clock()
        self._due_s = float("-inf")

    @property
    def is_due(self) -> bool:
        """True if events are to be looked for again."""
        return self._clock() >= self._due_s

    def read(self, tell: Tell) -> Heard:
        """Take in what is new. tell: called with events once the history has them."""
        heard = Heard()
        now = self._clock()
        for events in in_batches(self._reader.new_events()):
            self._last_s = now
            self._history.add(events)
            for event in events:
                self._note(event, heard)
            tell(events)
        self._due_s = now + min(_LATE * (now - self._last_s), _LATEST_S)
        return heard

    def _note(self, event: Mapping[str, Any], heard: Heard) -> None:
        kind = event["event"]
        if kind == "job_submitted" and event["by"] != self._writer:
            heard.jobs_of_others.append(event["number"])
        elif kind == "agent_ended":
            heard.has_ended_agent = True
        elif kind == "agent_died" and event["agent"] in self._history.agents:
            heard.dead_agents.append(self._history.agents[event["agent"]])
