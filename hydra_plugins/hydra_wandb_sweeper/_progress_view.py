"""How far a sweep is, as a value that can be shown: computed from its history, its jobs and the clock. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ._control import Orders
from ._history import AgentHistory, History
from ._ledger import SweepRecord
from ._outcome import FAILED, FINISHED, STOPPED
from ._output_place import TRIAL_LOG
from ._results import best_trials, swept_values
from ._trial_table import QUEUED, RUNNING, TrialHistory
from ._wording import one_line, shown_values

# So many of the last ends say how many trials end per minute.
_ENDS = 50
_FAILURES = 3


@dataclass(frozen=True)
class JobView:
    """A job that hasn't ended. job_id: empty for a launcher that has none."""

    number: int
    job_id: str
    is_waiting: bool


@dataclass(frozen=True)
class AgentView:
    """An agent, or a job that has none yet. state: running, idle (between two trials), starting, waiting in a queue.

    trial: number of the one it runs, for trial_s so far. job_left_s: until the time of its job is over, None without
    a limit or if it hasn't begun.
    """

    name: str
    job_id: str
    host: str
    state: str
    trial: int | None = None
    trial_s: float | None = None
    job_left_s: float | None = None


@dataclass(frozen=True)
class BestView:
    """The best trial so far. parameters: those that differ between trials, `lr=0.1 model=cnn`."""

    trial: int
    value: float
    parameters: str


@dataclass(frozen=True)
class FailureView:
    """A trial whose last attempt has failed. log: path of the best log there is. is_final: it isn't run again."""

    trial: int
    error: str
    log: str | None
    is_final: bool


@dataclass(frozen=True)
class ProgressView:
    """How far a sweep is at one moment.

    state: running, paused or draining (no trial begins any more). queued: trials that are yet to begin, or to go on.
    total: how many there will be, None if only the server knows. elapsed_s: since the first event. per_min: trials
    that end per minute, None before the first. left_s: see time_to_end_s.
    """

    name: str
    sweep: str
    url: str
    metric: str
    state: str
    finished: int
    failed: int
    stopped: int
    running: int
    queued: int
    total: int | None
    elapsed_s: float
    per_min: float | None
    left_s: float | None
    best: BestView | None
    agents: tuple[AgentView, ...]
    failures: tuple[FailureView, ...]

    @property
    def ended(self) -> int:
        """How many trials have ended for good."""
        return self.finished + self.failed + self.stopped


def time_to_end_s(to_begin: int, running_s: Sequence[float], agents: int, trial_s: float | None) -> float | None:
    """Estimate when the last trial ends, in seconds from now; None where that can't be said.

    to_begin: trials that are yet to begin. running_s: for how long the others have run. agents: how many work now.
    trial_s: how long a trial takes, the mean of those that have ended. The rule: what is left of the running trials
    and all of the others is divided among the agents of now; and no running trial takes less than its rest. Agents
    that wait in a queue, end or are added change it.
    """
    if not to_begin and not running_s:
        return 0.0
    if trial_s is None or not agents:
        return None
    rests_s = [max(0.0, trial_s - run_s) for run_s in running_s]
    return max((to_begin * trial_s + sum(rests_s)) / agents, *rests_s, 0.0)


class ProgressModel:
    """Keeps up what a view needs, so that a view costs as much as there are agents, however many trials there were.

    history: of the sweep, which has taken in an event before `add` is told of it. exists: True for a log that can be
    read.
    """

    def __init__(
        self, sweep: SweepRecord, history: History, exists: Callable[[Path], bool] = lambda path: path.exists()
    ) -> None:
        self._sweep = sweep
        self._history = history
        self._exists = exists
        self._best: int | None = None
        self._durations_s = 0.0
        self._durations = 0
        # When trials ended, and since when agents have worked without a break: a night in which nobody did is no time
        # that trials took.
        self._ends: deque[float] = deque(maxlen=_ENDS)
        self._work_began_s: float | None = None
        self._working: set[str] = set()
        self._failures: deque[FailureView] = deque(maxlen=4 * _FAILURES)

    def add(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Take in events, each once, in the order of their times."""
        for event in events:
            kind = event["event"]
            if kind == "agent_started":
                if not self._working:
                    self._work_began_s = event["time"]
                    self._ends.clear()
                self._working.add(event["by"])
            elif kind == "agent_ended":
                self._working.discard(event["by"])
            elif kind == "agent_died":
                self._working.discard(event["agent"])
            elif kind == "ended":
                self._add_end(event)

    def view(self, now: float, jobs: Sequence[JobView] = (), orders: Orders = Orders()) -> ProgressView:  # noqa: B008
        """Return how far the sweep is. now: seconds since the epoch. jobs: those that haven't ended."""
        history, sweep = self._history, self._sweep
        counts = history.counts()
        agents = self._agents(now, jobs)
        to_begin = counts[QUEUED]
        if sweep.expected_trials is not None:
            to_begin += max(0, sweep.expected_trials - len(history.trials))
        return ProgressView(
            name=one_line(sweep.name),
            sweep=one_line(sweep.sweep.path),
            url=sweep.url,
            metric=one_line(sweep.metric_name),
            state="draining" if orders.ends_sweep else "paused" if orders.paused else "running",
            finished=counts[FINISHED],
            failed=counts[FAILED],
            stopped=counts[STOPPED],
            running=counts[RUNNING],
            queued=to_begin,
            total=sweep.expected_trials,
            elapsed_s=max(0.0, now - history.times.first_s) if history.times.first_s is not None else 0.0,
            per_min=self._per_min(now),
            left_s=self._left_s(to_begin, agents, orders),
            best=self._best_view(),
            agents=agents,
            failures=self._last_failures(),
        )

    # --- what has ended ---

    def _add_end(self, event: Mapping[str, Any]) -> None:
        if event["state"] == FAILED:
            self._failures.append(self._failure(event))
        if not event["final"]:
            return
        self._ends.append(event["time"])
        if event["duration_s"]:
            self._durations_s += event["duration_s"]
            self._durations += 1
        if event["trial"] == self._best:  # it was run again, perhaps to a worse end
            self._look_at_all()
            return
        ended = self._history.trials.get(event["trial"])
        self._choose([trial for trial in (self._best_trial(), ended) if trial is not None])

    def _best_trial(self) -> TrialHistory | None:
        best = self._history.trials.get(self._best) if self._best is not None else None
        if best is None or best.state == FINISHED:
            return best
        self._look_at_all()  # it is being run again: then another one is the best for now
        return self._history.trials.get(self._best) if self._best is not None else None

    def _look_at_all(self) -> None:
        self._choose(self._history.trials.values())

    def _choose(self, trials: Iterable[TrialHistory]) -> None:
        best = next(iter(best_trials(self._sweep, trials, 1)), None)
        self._best = best.trial.number if best is not None else None

    def _best_view(self) -> BestView | None:
        best = self._best_trial()
        if best is None:
            return None
        text = shown_values(swept_values(self._sweep, best))
        return BestView(best.trial.number, best.metrics[self._sweep.metric_name], text)

    def _failure(self, event: Mapping[str, Any]) -> FailureView:
        log = Path(event["output_dir"]) / TRIAL_LOG if event["output_dir"] else None
        if log is None or not self._exists(log):
            # The trial's process left no word: what its agent's job printed may say more.
            agent = self._history.agents.get(event["by"])
            job = self._history.jobs.get(agent.job_number) if agent is not None else None
            log = Path(job.log) if job is not None and job.log else None
        error = one_line(event["error_line"] or "")
        return FailureView(event["trial"], error, str(log) if log is not None else None, event["final"])

    def _last_failures(self) -> tuple[FailureView, ...]:
        """The last ones of trials that haven't finished since, one for each trial."""
        trials = self._history.trials
        latest = {f.trial: f for f in self._failures if f.trial in trials and trials[f.trial].state != FINISHED}
        return tuple(latest.values())[-_FAILURES:]

    # --- what goes on ---

    def _per_min(self, now: float) -> float | None:
        if not self._ends:
            return None
        began_s, count = self._work_began_s, len(self._ends)
        if began_s is None or count == _ENDS:
            began_s, count = self._ends[0], count - 1
        spent_s = max(now, self._ends[-1]) - began_s
        return 60 * count / spent_s if spent_s > 0 and count else None

    def _left_s(self, to_begin: int, agents: Sequence[AgentView], orders: Orders) -> float | None:
        """See time_to_end_s; nobody knows how long a pause lasts, nor how many trials an open sweep has."""
        if orders.paused or (self._sweep.expected_trials is None and not orders.ends_sweep):
            return None
        trial_s = self._durations_s / self._durations if self._durations else None
        working = [agent for agent in agents if agent.state in ("running", "idle")]
        running_s = [agent.trial_s or 0.0 for agent in working if agent.trial is not None]
        return time_to_end_s(0 if orders.ends_sweep else to_begin, running_s, len(working), trial_s)

    def _agents(self, now: float, jobs: Sequence[JobView]) -> tuple[AgentView, ...]:
        """A row for each agent that works, and for each job that has none yet, by their jobs' numbers."""
        live = {job.number: job for job in jobs}
        known = self._history.jobs
        # Whoever has no job on record lives in the supervisor's process, or in the launcher's.
        working = [a for a in self._history.working.values() if a.job_number in live or a.job_number not in known]
        hosts = {agent.job_number for agent in working}
        rows = [(agent.job_number, self._agent(agent, live.get(agent.job_number), now)) for agent in working]
        rows += [(job.number, _without_agent(job)) for job in jobs if job.number not in hosts]
        return tuple(row for _, row in sorted(rows, key=lambda numbered: (numbered[0], numbered[1].name)))

    def _agent(self, agent: AgentHistory, job: JobView | None, now: float) -> AgentView:
        job_id = job.job_id if job is not None else ""
        if job is not None and job.is_waiting:  # it was put back into the queue before its agent could say so
            return AgentView(agent.name, job_id, "", "waiting")
        trial = next(iter(self._history.open_trials_of(agent.name)), None)
        return AgentView(
            agent.name,
            job_id,
            agent.node or agent.host,
            "running" if trial is not None else "idle",
            trial.trial.number if trial is not None else None,
            max(0.0, now - trial.started) if trial is not None else None,
            max(0.0, agent.job_end - now) if agent.job_end is not None else None,
        )


def _without_agent(job: JobView) -> AgentView:
    return AgentView(f"agent-{job.number}", job.job_id, "", "waiting" if job.is_waiting else "starting")
