"""The jobs of a sweep: which are to be started and when, which are under way, which have ended."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from ._dispatch import Dispatch, JobHandle
from ._errors import SweepFailedError
from ._history import AgentHistory
from ._job import AgentJob

log = logging.getLogger(__name__)

# The wait before a replacement, doubled with every setback in a row.
_FIRST_WAIT_S = 2.0
_LONGEST_WAIT_S = 300.0
# A cluster that accepts no more jobs is asked again when one of ours has ended, or after this time: somebody else's
# may have.
_HOLD_S = 60.0


def restart_wait_s(setbacks: int) -> float:
    """Return how long to wait before agents are started again. setbacks: starts in a row that led to nothing."""
    return 0.0 if setbacks == 0 else min(_FIRST_WAIT_S * 2.0 ** (setbacks - 1), _LONGEST_WAIT_S)


@dataclass(eq=False, repr=False)
class Fleet:
    """The jobs of one process's making, and those of others that it adopts.

    reserve: returns as many job numbers as it is asked for, each of them once. on_started: told of jobs right after
    their submission.
    """

    dispatch: Dispatch
    job: AgentJob
    clock: Callable[[], float] = time.monotonic
    reserve: Callable[[int], Sequence[int]] = field(default_factory=lambda: _counting())
    on_started: Callable[[Sequence[JobHandle]], None] = lambda _: None
    live: list[JobHandle] = field(default_factory=list)
    _due: list[tuple[float, int]] = field(default_factory=list)
    _held_until_s: float = 0.0

    def adopt(self, handles: Iterable[JobHandle]) -> None:
        """Watch jobs that another process has submitted."""
        self.live += handles

    def plan(self, count: int, wait_s: float = 0.0) -> None:
        """Have `count` more jobs started, wait_s from now."""
        due_s = self.clock() + wait_s
        self._due += [(due_s, number) for number in self.reserve(count)]

    @property
    def has_due(self) -> bool:
        """True if jobs are planned."""
        return bool(self._due)

    @property
    def is_as_planned(self) -> bool:
        """True if nothing is left to be started, or a limit of the cluster's is in the way."""
        return not self._due or self.clock() < self._held_until_s

    @property
    def strength(self) -> int:
        """How many jobs are under way or will be."""
        return len(self.live) + len(self._due)

    def start_due(self, avoid: Sequence[str] = ()) -> None:
        """Start what is due, as far as the cluster accepts it now; the rest stays due until a job ends.

        avoid: nodes on which it shall not run. Errors: SweepFailedError with the launcher's words. Jobs refused for
        good are planned no longer; those that are too many for now stay planned.
        """
        now = self.clock()
        numbers = [number for due_s, number in self._due if due_s <= now]
        if not numbers or now < self._held_until_s:
            return
        try:
            started = self.dispatch.start(self.job, numbers, avoid)
        except SweepFailedError as error:
            if error.is_limit:
                self._held_until_s = now + _HOLD_S
            else:
                self._due = [(due_s, number) for due_s, number in self._due if number not in numbers]
            raise
        self.on_started(started)
        self.live += started
        accepted = {handle.number for handle in started}
        self._due = [(due_s, number) for due_s, number in self._due if number not in accepted]
        if rest := len(numbers) - len(started):
            self._held_until_s = now + _HOLD_S
            log.info("%d job(s) submitted; the cluster accepts no more for now, %d follow.", len(started), rest)

    def take_ended(self) -> list[JobHandle]:
        """Return the jobs that have ended since the last call."""
        ended = [handle for handle in self.live if handle.has_ended()]
        self.live = [handle for handle in self.live if handle not in ended]
        if ended:
            self._held_until_s = 0.0  # there is room for another one
        return ended

    def dismiss_waiting(self, has_begun: Callable[[int], bool]) -> None:
        """Start nothing more, and cancel the jobs that still wait in the queue. has_begun: by a job's number."""
        self._due = []
        waiting = [handle for handle in self.live if not has_begun(handle.number)]
        if waiting:
            log.info("Nothing is left to do for %d job(s) that wait in the queue; they are cancelled.", len(waiting))
        if self.live:
            # Those that have begun may wait as well: put back into the queue at their time limit.
            self.dispatch.cancel(self.live, waiting_only=True)

    def end_hung(self, handle: JobHandle, agents: Sequence[AgentHistory]) -> None:
        """End a job whose agents are silent. It stays under way until it has ended."""
        self.dispatch.end_hung(handle, agents)

    def end_last(self) -> int:
        """End the job that was started last, and return its number."""
        last = self.live.pop()
        self.dispatch.cancel([last])
        return last.number

    def cancel_all(self) -> None:
        """End every job."""
        self._due = []
        self.dispatch.cancel(self.live)


def _counting() -> Callable[[int], Sequence[int]]:
    numbers = itertools.count()
    return lambda count: [next(numbers) for _ in range(count)]
