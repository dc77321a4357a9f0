"""Where the agents' time went, as the ledger's events tell it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TimeSpent:
    """Seconds. wall_s: from the sweep's first event to its last. trial_s, agent_s: summed over all agents."""

    wall_s: float
    trial_s: float
    agent_s: float

    @property
    def utilisation(self) -> float | None:
        """The share of the agents' time that went into trials, 0 to 1; None if there were no agents."""
        return min(1.0, self.trial_s / self.agent_s) if self.agent_s > 0 else None


class Timesheet:
    """Folds events, each given once, into sums; O(1) for each.

    first_s: time of the first event, in seconds since the epoch, None if there was none. An agent that died without
    a word counts up to its last one, and the attempt that it ran then doesn't count: when it died is known to nobody.
    """

    def __init__(self) -> None:
        self.first_s: float | None = None
        self._last_s = 0.0
        self._trial_s = 0.0
        self._agent_s = 0.0
        # Of agents that haven't ended: when each was heard of first and last.
        self._agents: dict[str, tuple[float, float]] = {}
        # Of attempts that are under way: by whom, and since when.
        self._attempts: dict[int, tuple[str, float]] = {}

    def add(self, event: Mapping[str, Any]) -> None:
        """Take in one event."""
        time_s, by = float(event["time"]), event["by"]
        self.first_s = time_s if self.first_s is None else min(self.first_s, time_s)
        self._last_s = max(self._last_s, time_s)
        if event["event"] == "agent_started":
            self._agents[by] = (time_s, time_s)
        elif by in self._agents:
            self._agents[by] = (self._agents[by][0], time_s)
        if event["event"] == "claimed":
            self._attempts[event["trial"]] = (by, time_s)
        elif event["event"] in ("ended", "offered"):
            self._account(event)
        elif event["event"] == "agent_ended":
            self._leave(by)
        elif event["event"] == "agent_died":
            self._leave(event["agent"])

    def spent(self) -> TimeSpent:
        """Return the sums as far as events tell."""
        open_s = sum(last_s - start_s for start_s, last_s in self._agents.values())
        wall_s = self._last_s - self.first_s if self.first_s is not None else 0.0
        return TimeSpent(wall_s, self._trial_s, self._agent_s + open_s)

    def _account(self, event: Mapping[str, Any]) -> None:
        """An attempt is over: it ended, or was handed over by its own agent."""
        by, start_s = self._attempts.pop(event["trial"], (None, 0.0))
        if by == event["by"]:
            self._trial_s += event.get("duration_s") or max(0.0, float(event["time"]) - start_s)

    def _leave(self, agent: str) -> None:
        if agent in self._agents:
            start_s, last_s = self._agents.pop(agent)
            self._agent_s += last_s - start_s
