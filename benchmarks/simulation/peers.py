"""What people do without this plugin, on the same simulated cluster, taken at its best.

A script submits jobs as room for them appears, at any hour; jobs whose node has died are put back into the queue by
SLURM itself. W&B's server hands out each trial once, whatever becomes of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .cluster import Cluster, Job
from .timeline import Killed, Process, Timeline
from .workload import Scenario, Workload

# `wandb agent` asks for the next trial that often.
POLL_S = 5.0

Work = Callable[["User", Process, int, Job], None]
WantsMore = Callable[["User", int, int], bool]


@dataclass
class User:
    """Submits jobs and has them do `work`, each with a number of its own.

    wants_more: whether one more job is to be submitted, by how many were, and how many of them have not ended.
    """

    scenario: Scenario
    timeline: Timeline
    cluster: Cluster
    workload: Workload
    work: Work
    wants_more: WantsMore
    handed_out: int = 0
    _submitted: int = 0
    _ended: int = 0

    def submit(self) -> None:
        """Submit jobs as far as there is room for them."""
        while self.cluster.room and self.wants_more(self, self._submitted, self._submitted - self._ended):
            number = self._submitted
            self._submitted += 1
            self.cluster.submit(Job(lambda job, number=number: self._begin(number, job), self._on_change))

    def _begin(self, number: int, job: Job) -> None:
        def body(process: Process) -> None:
            self.work(self, process, number, job)

        job.processes.append(Process(self.timeline, body, lambda: self.cluster.end(job)))

    def _on_change(self, job: Job) -> None:
        if job.has_ended:
            self._ended += 1
            self.timeline.call_in(0.0, self.submit)

    def next_trial(self) -> int | None:
        """A trial that the server hands out, None if none is left."""
        if self.handed_out == self.scenario.trials:
            return None
        self.handed_out += 1
        return self.handed_out - 1

    def run_trial(self, process: Process, trial: int, start_up_s: float, job: Job | None = None) -> None:
        """Run a trial to its end; one that crashes never finishes. job: that it comes back with, None if it doesn't.

        Errors: Killed with its job.
        """
        attempt = self.workload.begin(trial, start_up_s)
        try:
            process.wait(attempt.ends_s - process.clock())
        except Killed:
            self.workload.leave(attempt)
            if job is None or self.timeline.now_s >= job.begun_s + self.scenario.limit_s:
                self.workload.fail(trial)
            raise
        if not self.workload.leave(attempt):
            self.workload.fail(trial)


def simulate(
    scenario: Scenario, work: Work, wants_more: Callable[[User, int, int], bool]
) -> tuple[Workload, Cluster]:
    """Run a sweep until nothing happens any more."""
    timeline = Timeline()
    cluster = Cluster(scenario, timeline)
    workload = Workload(scenario, lambda: timeline.now_s)
    User(scenario, timeline, cluster, workload, work, wants_more).submit()
    timeline.run()
    return workload, cluster


def job_per_trial(scenario: Scenario) -> tuple[Workload, Cluster]:
    """The n-th job runs the n-th trial."""

    def work(user: User, process: Process, number: int, job: Job) -> None:
        user.run_trial(process, number, scenario.import_s, job)

    return simulate(scenario, work, lambda _, submitted, __: submitted < scenario.trials)


def wandb_agent(scenario: Scenario, count: int | None) -> tuple[Workload, Cluster]:
    """`wandb agent` in each job, for `count` trials, or without a limit until the job is killed.

    Without one there are as many jobs at a time as GPUs, and another one follows when one was killed.
    """

    def work(user: User, process: Process, number: int, job: Job) -> None:
        done = 0
        while done != count and (trial := user.next_trial()) is not None:
            user.run_trial(process, trial, POLL_S + scenario.import_s)
            done += 1

    def wants_more(user: User, submitted: int, present: int) -> bool:
        if count is not None:
            return submitted * count < scenario.trials or (not present and user.handed_out < scenario.trials)
        return present < scenario.gpus and user.handed_out < scenario.trials

    return simulate(scenario, work, wants_more)
