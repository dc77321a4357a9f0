"""What is to be done: a sweep's trials, how long each takes, what fails, and what of the work was of use."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

HOUR_S = 3600.0
DAY_S = 24 * HOUR_S


@dataclass(frozen=True)
class Scenario:
    """A sweep and the cluster that it runs on. Everything random is drawn from `seed`.

    trials: how many. durations: log-uniform | lognormal, between shortest_s and longest_s. resumable: trials write a
    checkpoint every checkpoint_s, and one when they are told that their job ends.
    gpus: how many the user may have at a time. agents: that this plugin is asked for; None = as many. gpus_per_job:
    those of one job, all on one node, an agent each.
    limit_s: time limit of jobs. warning_s: how long before it SLURM sends its signal. max_num_timeout: how often a
    job may come back after it (0 is hydra-submitit-launcher's default). max_submit_jobs: jobs that wait or run at a
    time. wait_median_s, wait_sigma: of the lognormal time that a job waits in the queue, never more than a day.
    ages_in_line: jobs wait side by side; else each begins to wait when one of the user's GPUs is free for it.
    crash_p: probability that a trial of mean length crashes in one attempt, evenly spread over its time.
    deaths_per_node_day: nodes that die. import_s: an interpreter's start and the imports of the user's code.
    """

    seed: int = 0
    trials: int = 4000
    durations: str = "log-uniform"
    shortest_s: float = 600.0
    longest_s: float = 10 * HOUR_S
    resumable: bool = False
    checkpoint_s: float = 900.0
    gpus: int = 80
    agents: int | None = None
    gpus_per_job: int = 1
    limit_s: float = 2 * DAY_S
    warning_s: float = 120.0
    max_num_timeout: int = 0
    max_submit_jobs: int = 300
    wait_median_s: float = 1800.0
    wait_sigma: float = 1.5
    ages_in_line: bool = True
    crash_p: float = 0.02
    deaths_per_node_day: float = 0.0065
    import_s: float = 15.0

    def random(self, *what: object) -> random.Random:
        """Random numbers for one purpose: policies that differ in everything else meet the same luck."""
        return random.Random(f"{self.seed} {' '.join(map(str, what))}")

    @property
    def mean_s(self) -> float:
        """Mean of log-uniform durations."""
        if self.shortest_s == self.longest_s:
            return self.longest_s
        return (self.longest_s - self.shortest_s) / math.log(self.longest_s / self.shortest_s)

    def duration_s(self, trial: int) -> float:
        """How long a trial takes if nothing interrupts it."""
        draw = self.random("duration", trial)
        if self.durations == "log-uniform":
            return self.shortest_s * (self.longest_s / self.shortest_s) ** draw.random()
        # Its middle 95 % reach from shortest to longest; what is outside is drawn again.
        middle, sigma = math.sqrt(self.shortest_s * self.longest_s), math.log(self.longest_s / self.shortest_s) / 4
        while not self.shortest_s <= (seconds := draw.lognormvariate(math.log(middle), sigma)) <= self.longest_s:
            pass
        return seconds

    def until_crash_s(self, trial: int, attempt: int) -> float:
        """After how much work an attempt crashes if it hasn't ended by then."""
        rate = -math.log1p(-self.crash_p) / self.mean_s
        return self.random("crash", trial, attempt).expovariate(rate) if rate else math.inf

    def wait_s(self, submission: int) -> float:
        """How long a job waits in the queue. submission: how many were submitted before it."""
        drawn_s = self.wait_median_s * self.random("wait", submission).lognormvariate(0.0, self.wait_sigma)
        # Jobs gain priority with their age; without an end to that, a few of 4,000 would wait for weeks.
        return min(drawn_s, DAY_S)

    def until_death_s(self, start: int) -> float:
        """How long a job's node lives. start: how many jobs have begun before."""
        rate = self.deaths_per_node_day / DAY_S
        return self.random("death", start).expovariate(rate) if rate else math.inf


@dataclass
class TrialState:
    """One trial. kept_s: of its work, what a checkpoint holds. outcome: finished | failed, None before its end."""

    duration_s: float
    kept_s: float = 0.0
    attempts: int = 0
    outcome: str | None = None
    running: Attempt | None = None


@dataclass
class Attempt:
    """A trial's work under way. from_s: what was done before. begun_s: when its work began, after its start-up."""

    trial: int
    from_s: float
    begun_s: float
    ends_s: float
    crashes: bool


@dataclass
class Workload:
    """All trials, and the accounts.

    worked_s: time in which a trial's own code ran. useful_s: of trials that finished, each counted once. last_end_s:
    when the last trial ended.
    """

    scenario: Scenario
    clock: Callable[[], float]
    worked_s: float = 0.0
    useful_s: float = 0.0
    last_end_s: float = 0.0
    attempts: int = 0
    trials: list[TrialState] = field(init=False)

    def __post_init__(self) -> None:
        numbers = range(self.scenario.trials)
        self.trials = [TrialState(self.scenario.duration_s(number)) for number in numbers]

    def begin(self, number: int, start_up_s: float) -> Attempt:
        """A trial begins, or goes on from its checkpoint. start_up_s: before its own work does."""
        trial = self.trials[number]
        assert trial.running is None, f"trial {number} runs twice at once"
        assert trial.outcome is None, f"trial {number} runs after its end"
        begun_s, left_s = self.clock() + start_up_s, trial.duration_s - trial.kept_s
        until_crash_s = self.scenario.until_crash_s(number, trial.attempts)
        trial.attempts += 1
        self.attempts += 1
        crashes = until_crash_s < left_s
        ends_s = begun_s + min(until_crash_s, left_s)
        trial.running = Attempt(number, trial.kept_s, begun_s, ends_s, crashes)
        return trial.running

    def leave(self, attempt: Attempt, *, warned: bool = False) -> bool:
        """An attempt ends now, by itself or not; True if its trial has finished. warned: it could keep its work."""
        trial, now_s = self.trials[attempt.trial], self.clock()
        assert trial.running is attempt
        trial.running = None
        worked_s = max(0.0, now_s - attempt.begun_s)
        self.worked_s += worked_s
        if now_s >= attempt.ends_s and not attempt.crashes:
            trial.outcome = "finished"
            self.useful_s += trial.duration_s
            self.last_end_s = now_s
            return True
        if self.scenario.resumable:
            whole = self.scenario.checkpoint_s
            trial.kept_s = attempt.from_s + (worked_s if warned else worked_s // whole * whole)
        return False

    def fail(self, number: int) -> None:
        """A trial will never finish."""
        if self.trials[number].outcome is None:
            self.trials[number].outcome = "failed"
            self.last_end_s = self.clock()

    def count(self, outcome: str | None) -> int:
        """How many trials ended so."""
        return sum(trial.outcome == outcome for trial in self.trials)
