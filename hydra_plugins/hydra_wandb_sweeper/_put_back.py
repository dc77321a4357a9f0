"""Jobs that SLURM has put back into the queue, as it does when their node has died."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

from ._dispatch import JobHandle
from ._history import AgentHistory, History


@dataclass(eq=False, repr=False)
class PutBack:
    """Finds what such jobs have left. A job sees to that itself when it begins again, but that may be hours later."""

    _running: set[int] = field(default_factory=set)
    _known: int = 0

    def dead_agents(self, jobs: Sequence[JobHandle], history: History) -> list[AgentHistory]:
        """Return the agents that died without a word in jobs that ran at the last call, and wait now.

        Only those that were known at the last call: a queue's answers are old, and a job that is said to wait may
        have begun since, with an agent that lives.
        """
        known, self._known = self._known, len(history.agents)
        waiting = {job.number for job in jobs if job.is_waiting()}
        put_back, self._running = self._running & waiting, {job.number for job in jobs} - waiting
        if not put_back:
            return []
        agents = islice(history.agents.values(), known)
        return [agent for agent in agents if agent.job_number in put_back and agent.ended is None]
