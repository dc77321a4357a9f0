"""A cluster as a user of SLURM sees it: jobs wait, run up to their limit, die with their node, come back."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from .timeline import Process, Timeline, Timer
from .workload import Scenario

# SLURM's BatchStartTimeout and the like: a requeued job isn't looked at before.
REQUEUE_HOLD_S = 120.0
# SlurmdTimeout: for so long a dead node's jobs are taken to run.
DEAD_NODE_S = 300.0


@dataclass(eq=False)
class Job:
    """run: what it does when it has begun: starts processes and has them end it. restarts: how often it came back.

    warn: called when SLURM's signal is due. on_change: called when it has ended, or gone back into the queue.
    has_place: GPUs are kept for it. node: its number, another one for each start.
    """

    run: Callable[[Job], None]
    on_change: Callable[[Job], None] = lambda _: None
    warn: Callable[[], None] = lambda: None
    state: str = "waiting"
    restarts: int = 0
    begun_s: float = 0.0
    has_place: bool = False
    node: int = -1
    processes: list[Process] = field(default_factory=list)
    timers: list[Timer] = field(default_factory=list)

    @property
    def has_ended(self) -> bool:
        """True once it is gone."""
        return self.state == "ended"


class Cluster:
    """allocated_s: GPU seconds in jobs. most_gpus, most_jobs: at any time."""

    def __init__(self, scenario: Scenario, timeline: Timeline) -> None:
        self.scenario = scenario
        self.timeline = timeline
        self.allocated_s = 0.0
        self.starts = 0
        self.deaths = 0
        self.timeouts = 0
        self.most_gpus = 0
        self.most_jobs = 0
        self._submissions = 0
        self._queued = 0
        self._free = scenario.gpus // scenario.gpus_per_job
        self._slots = self._free
        self._line: deque[Job] = deque()

    @property
    def room(self) -> int:
        """How many jobs it would accept now."""
        return self.scenario.max_submit_jobs - self._queued

    def submit(self, job: Job) -> Job:
        """Put a job into the queue."""
        assert self.room > 0, "too many jobs"
        self._queued += 1
        self.most_jobs = max(self.most_jobs, self._queued)
        self._enqueue(job, 0.0)
        return job

    def end(self, job: Job) -> None:
        """A job ends by itself."""
        self._stop(job)
        self._leave(job)

    def requeue(self, job: Job) -> None:
        """Put a running job back into the queue."""
        self._stop(job)
        job.state, job.restarts = "waiting", job.restarts + 1
        self._enqueue(job, REQUEUE_HOLD_S)
        job.on_change(job)

    def cancel(self, job: Job) -> None:
        """End a job, wherever it is."""
        if job.has_ended:
            return
        if job in self._line:
            self._line.remove(job)
        self._stop(job)
        self._leave(job)

    def _enqueue(self, job: Job, hold_s: float) -> None:
        wait_s = self._draw_wait_s() if self.scenario.ages_in_line else 0.0
        job.timers = [self.timeline.call_in(hold_s + wait_s, lambda: self._stand_in_line(job))]

    def _stand_in_line(self, job: Job) -> None:
        self._line.append(job)
        self._advance()

    def _advance(self) -> None:
        """Give free GPUs to those first in line."""
        while self._line and self._free:
            self._free -= 1
            job = self._line.popleft()
            job.has_place = True
            # Even without a wait not from within whatever has freed the GPUs.
            wait_s = 0.0 if self.scenario.ages_in_line else self._draw_wait_s()
            job.timers = [self.timeline.call_in(wait_s, lambda job=job: self._begin(job))]

    def _draw_wait_s(self) -> float:
        self._submissions += 1
        return self.scenario.wait_s(self._submissions)

    def _begin(self, job: Job) -> None:
        job.state, job.begun_s = "running", self.timeline.now_s
        self.most_gpus = max(self.most_gpus, (self._slots - self._free) * self.scenario.gpus_per_job)
        limit_s = self.scenario.limit_s
        job.node, self.starts = self.starts, self.starts + 1
        lives_s = self.scenario.until_death_s(job.node)
        job.processes, job.warn = [], lambda: None
        job.timers = [
            self.timeline.call_in(limit_s, lambda: self._time_out(job)),
            self.timeline.call_in(limit_s - self.scenario.warning_s, lambda: job.warn()),
        ]
        if lives_s < limit_s:
            job.timers.append(self.timeline.call_in(lives_s, lambda: self._die(job)))
        job.run(job)

    def _time_out(self, job: Job) -> None:
        self.timeouts += 1
        self.end(job)

    def _die(self, job: Job) -> None:
        self.deaths += 1
        self._kill(job)
        # Jobs are put back into the queue when their node has failed (JobRequeue=1, SLURM's default).
        job.timers = [self.timeline.call_in(DEAD_NODE_S, lambda: self.requeue(job))]

    def _kill(self, job: Job) -> None:
        for timer in job.timers:
            timer.cancelled = True
        for process in job.processes:
            process.kill()

    def _stop(self, job: Job) -> None:
        self._kill(job)
        if job.state == "running":
            self.allocated_s += (self.timeline.now_s - job.begun_s) * self.scenario.gpus_per_job
        if job.has_place:
            job.has_place = False
            self._free += 1
            self._advance()

    def _leave(self, job: Job) -> None:
        job.state = "ended"
        self._queued -= 1
        job.on_change(job)
