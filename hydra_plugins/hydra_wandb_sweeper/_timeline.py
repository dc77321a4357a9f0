"""Which agent ran which trial when, as the ledger's events tell it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ._outcome import FAILED, FINISHED, STOPPED

HANDED_OVER = "handed over"
LOST = "lost"
# As sweep data (see _sweep_data) calls them: the words of W&B's run states.
_ENDS = {FINISHED: "finished", FAILED: "failed", STOPPED: "killed"}


@dataclass
class Assignment:
    """One attempt at a trial. Times are seconds since the epoch; ended_at and how are None while it runs.

    how: finished, failed, killed, HANDED_OVER to another agent, or LOST: its agent died.
    """

    run_id: str
    agent: str
    began_at: float
    ended_at: float | None = None
    how: str | None = None


@dataclass
class AgentSpan:
    """An agent's life. ended: "finished" or "died", None while it works as far as is known.

    job: the job it is in, as its launcher's queue shows it; None outside of one.
    """

    name: str
    host: str
    began_at: float
    ended_at: float | None = None
    ended: str | None = None
    trials: list[Assignment] = field(default_factory=list)
    job: str | None = None


class Timeline:
    """Folds events, each given once, into the lives of agents.

    agents: in the order of their beginnings; one that its launcher ran again is there twice. last: trial number ->
    its latest attempt.
    """

    def __init__(self) -> None:
        self.agents: list[AgentSpan] = []
        self.last: dict[int, Assignment] = {}
        self._latest_of: dict[str, AgentSpan] = {}
        self._open: dict[tuple[int, int], Assignment] = {}

    def add(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Take in events in the order of their times."""
        for event in events:
            handle = getattr(self, f"_on_{event['event']}", None)
            if handle is not None:
                handle(event)

    def _on_agent_started(self, event: Mapping[str, Any]) -> None:
        span = AgentSpan(event["by"], event["host"], event["time"], job=event.get("job_name"))
        self.agents.append(span)
        self._latest_of[span.name] = span

    def _on_agent_ended(self, event: Mapping[str, Any]) -> None:
        self._end_agent(event["by"], event["time"], "finished")

    def _on_agent_died(self, event: Mapping[str, Any]) -> None:
        self._end_agent(event["agent"], event["time"], "died")

    def _end_agent(self, name: str, time: float, how: str) -> None:
        span = self._latest_of.get(name)
        if span is None or span.ended_at is not None:
            return
        span.ended_at, span.ended = time, how
        for assignment in span.trials:
            # Without a word of their end: whoever took over has said, or will say, what becomes of them.
            _end(assignment, time, LOST)

    def _on_claimed(self, event: Mapping[str, Any]) -> None:
        assignment = Assignment(event["run_id"], event["by"], event["time"])
        self._open[event["trial"], event["attempt"]] = self.last[event["trial"]] = assignment
        if (span := self._latest_of.get(assignment.agent)) is not None:
            span.trials.append(assignment)

    def _on_ended(self, event: Mapping[str, Any]) -> None:
        assignment = self._open.pop((event["trial"], event["attempt"]), None)
        if assignment is None:
            return
        # A death is told by others, as the trial's failure.
        is_lost = event["by"] != assignment.agent and event["state"] == FAILED
        if assignment.how == LOST and not is_lost:
            assignment.how = None  # its agent died between the trial's word and its own
        _end(assignment, event["time"], LOST if is_lost else _ENDS[event["state"]])

    def _on_offered(self, event: Mapping[str, Any]) -> None:
        """The attempt before the one on offer is over, if it hasn't said so itself."""
        assignment = self._open.pop((event["trial"], event["attempt"] - 1), None)
        if assignment is not None:
            _end(assignment, event["time"], HANDED_OVER if event["by"] == assignment.agent else LOST)


def _end(assignment: Assignment, time: float, how: str) -> None:
    if assignment.how is None:
        assignment.ended_at, assignment.how = assignment.ended_at or time, how
