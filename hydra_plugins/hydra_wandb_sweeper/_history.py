"""What has happened in a sweep, as the ledger's events tell it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ._ledger import Trial
from ._outcome import FINISHED
from ._timesheet import Timesheet
from ._trial_table import QUEUED, RUNNING, TrialHistory, TrialTable


@dataclass(frozen=True)
class JobRecord:
    """A submitted job. cluster: submitit's name of it (slurm, local). host: where it was submitted. log: its path."""

    number: int
    job_id: str
    cluster: str
    host: str
    log: str


@dataclass
class AgentHistory:
    """One agent. job_number: of its job. restarts: how often the job had been requeued when the agent began.

    pid: of its process on `host`. node: SLURM's name of where it is. started: seconds since the epoch. process_start:
    see _processes. job_end: when the time of its job is over, in seconds since the epoch, None without a limit.
    ended: why it left, None while it has not said so. gave_up: because too many trials in a row failed there.
    server_id: by which an embedded server knows it.
    """

    name: str
    host: str
    job_number: int
    restarts: int = 0
    node: str | None = None
    pid: int = 0
    started: float = 0.0
    process_start: str | None = None
    job_end: float | None = None
    gave_up: bool = False
    ended: str | None = None
    server_id: str | None = None


class History:
    """Folds events, each given once, into the present state of a sweep.

    jobs: those that were submitted, by number. jobs_added: how many more jobs at a time were asked for since the
    sweep began. jobs_drained: numbers of those that were sent home, and aren't to be replaced. jobs_dismissed: of
    those that made room for another job. keeper_job: id of the last keeper's job (see _keeper). found_no_more: an
    agent was told by the server that no new trial is left. working: agents of which nobody has said that they ended
    or died. times: where the agents' time went.
    """

    def __init__(self) -> None:
        self.jobs: dict[int, JobRecord] = {}
        self.jobs_added = 0
        self.jobs_drained: set[int] = set()
        self.jobs_dismissed: set[int] = set()
        self.keeper_job: str | None = None
        self.trials = TrialTable()
        self.agents: dict[str, AgentHistory] = {}
        self.working: dict[str, AgentHistory] = {}
        self.times = Timesheet()
        self.stop_reason: str | None = None
        self.found_no_more = False
        self._handed_over = 0
        # What is asked all the time is kept up to date, or its cost would grow with the trials times the agents.
        self._counts: Counter[str] = Counter()
        self._finished_by: Counter[str] = Counter()
        self._open: dict[str, dict[int, TrialHistory]] = {}
        self._agents_of: dict[int, dict[str, AgentHistory]] = {}

    def add(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Take in events in the order of their times."""
        for event in events:
            self.times.add(event)
            handle = getattr(self, f"_on_{event['event']}", None)
            if handle is not None:
                handle(event)

    @property
    def progress(self) -> int:
        """A number that grows with what brings the sweep nearer to its end: trials' ends and orderly hand-overs.

        A trial that failed and was handed back by its agent counts no more.
        """
        ended = sum(count for state, count in self._counts.items() if state not in (RUNNING, QUEUED))
        return ended + self._handed_over

    def counts(self) -> Counter[str]:
        """Return how many trials are in each state."""
        return +self._counts

    def bad_nodes(self) -> list[str]:
        """Return the nodes on which agents gave up and nothing has finished, if trials do finish elsewhere."""
        good = {agent.node for agent in self.agents.values() if self._finished_by[agent.name]}
        gave_up = {agent.node for agent in self.agents.values() if agent.gave_up and agent.node is not None}
        return sorted(gave_up - good) if good else []

    def agents_of_job(self, number: int) -> list[AgentHistory]:
        """Return the agents that a job has hosted, those before it was requeued included."""
        return list(self._agents_of.get(number, {}).values())

    def last_agents_of_job(self, number: int) -> list[AgentHistory]:
        """Return the agents that a job has hosted since it was put into the queue last."""
        agents = self.agents_of_job(number)
        last = max((agent.restarts for agent in agents), default=0)
        return [agent for agent in agents if agent.restarts == last]

    def open_trials_of(self, agent: str) -> list[TrialHistory]:
        """Return the trials that an agent has claimed and not accounted for."""
        return list(self._open.get(agent, {}).values())

    def last_attempt(self, number: int) -> int:
        """Return the last attempt at a trial that is known of, -1 if none is."""
        known = self.trials.get(number)
        return -1 if known is None else known.trial.attempt

    def _on_agent_started(self, event: Mapping[str, Any]) -> None:
        names = ("by", "host", "job_number", "restarts", "node", "pid", "time", "process_start")
        agent = AgentHistory(*(event[name] for name in names))
        agent.job_end = event.get("job_end")
        self.agents[agent.name] = self.working[agent.name] = agent
        self._agents_of.setdefault(agent.job_number, {})[agent.name] = agent

    def _on_agent_registered(self, event: Mapping[str, Any]) -> None:
        self.agents[event["by"]].server_id = event["server_id"]

    def _on_agent_ended(self, event: Mapping[str, Any]) -> None:
        agent = self.agents[event["by"]]
        self.found_no_more = self.found_no_more or event["found_no_more"]
        agent.ended, agent.gave_up = event["reason"], event["gave_up"]
        self.working.pop(agent.name, None)

    def _on_job_submitted(self, event: Mapping[str, Any]) -> None:
        job = JobRecord(event["number"], event["job_id"], event["cluster"], event["host"], event["log"])
        self.jobs[job.number] = job

    def _on_jobs_added(self, event: Mapping[str, Any]) -> None:
        self.jobs_added += event["jobs"]

    def _on_jobs_dismissed(self, event: Mapping[str, Any]) -> None:
        self.jobs_dismissed.update(event["jobs"])

    def _on_jobs_drained(self, event: Mapping[str, Any]) -> None:
        self.jobs_drained.update(event["jobs"])

    def _on_keeper_submitted(self, event: Mapping[str, Any]) -> None:
        self.keeper_job = event["job_id"]

    def _on_reopened(self, _event: Mapping[str, Any]) -> None:
        self.stop_reason = None

    def _on_agent_died(self, event: Mapping[str, Any]) -> None:
        if event["agent"] in self.agents:
            self.agents[event["agent"]].ended = "it died"
            self.working.pop(event["agent"], None)

    def _on_sweep_stopped(self, event: Mapping[str, Any]) -> None:
        self.stop_reason = event["reason"]

    def _on_claimed(self, event: Mapping[str, Any]) -> None:
        trial = Trial(
            event["trial"], event["attempt"], event["run_id"], event["args"], event["failures"], event["resumes"]
        )
        if self._is_news(event):
            known = self.trials.get(trial.number)
            if known is not None:
                self._leave(known)
            self._enter(TrialHistory(trial, RUNNING, event["by"], started=event["time"]))

    def _on_preempting(self, event: Mapping[str, Any]) -> None:
        if self._is_news(event):
            known = self.trials[event["trial"]]
            known.is_preempting = True
            self.trials[known.trial.number] = known
            self._handed_over += 1

    def _on_offered(self, event: Mapping[str, Any]) -> None:
        known = self.trials.get(event["trial"])
        if known and event["attempt"] > known.trial.attempt:
            self._move(known, QUEUED)

    def _on_ended(self, event: Mapping[str, Any]) -> None:
        if not self._is_news(event):
            return
        known = self.trials[event["trial"]]
        known.metrics = event["metrics"]
        known.error_line = event["error_line"]
        known.output_dir = event["output_dir"] or known.output_dir
        known.duration_s = event["duration_s"]
        self._move(known, event["state"] if event["final"] else QUEUED)

    def _move(self, trial: TrialHistory, state: str) -> None:
        self._leave(trial)
        trial.state = state
        self._enter(trial)

    def _leave(self, trial: TrialHistory) -> None:
        self._counts[trial.state] -= 1
        if trial.state == FINISHED:
            self._finished_by[trial.agent] -= 1
        elif trial.state == RUNNING:
            del self._open[trial.agent][trial.trial.number]

    def _enter(self, trial: TrialHistory) -> None:
        self.trials[trial.trial.number] = trial
        self._counts[trial.state] += 1
        if trial.state == FINISHED:
            self._finished_by[trial.agent] += 1
        elif trial.state == RUNNING:
            self._open.setdefault(trial.agent, {})[trial.trial.number] = trial

    def _is_news(self, event: Mapping[str, Any]) -> bool:
        """False for what a slow clock or a slow file system brings after a later attempt's events."""
        known = self.trials.get(event["trial"])
        return known is None or event["attempt"] >= known.trial.attempt
