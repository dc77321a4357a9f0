"""This plugin in simulated time: its own agents, supervisor, fleet and ledger, on a simulated cluster.

What decides is the project's code as it is: Agent (what may begin in a job, hand-over, retries), Settler, WallTime,
should_requeue, take_over, Supervisor and Fleet (how many jobs to submit again, and when), Ledger and History. What is
simulated is what they talk to: the clock, the server, the trials' processes, SLURM's queue. Between the two is what
AgentJob and SubmititTask do with a real job, in short.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra_plugins.hydra_wandb_sweeper._agent import Agent
from hydra_plugins.hydra_wandb_sweeper._client import SweepRef
from hydra_plugins.hydra_wandb_sweeper._events import EventReader
from hydra_plugins.hydra_wandb_sweeper._fleet import Fleet
from hydra_plugins.hydra_wandb_sweeper._history import History
from hydra_plugins.hydra_wandb_sweeper._job import AgentJob, agent_names
from hydra_plugins.hydra_wandb_sweeper._ledger import Ledger, SweepRecord
from hydra_plugins.hydra_wandb_sweeper._notice import preempt_signal
from hydra_plugins.hydra_wandb_sweeper._outcome import FAILED, FINISHED
from hydra_plugins.hydra_wandb_sweeper._requeue import Ending, should_requeue
from hydra_plugins.hydra_wandb_sweeper._server import ServerRef
from hydra_plugins.hydra_wandb_sweeper._settle import AgentSettings, AgentSummary
from hydra_plugins.hydra_wandb_sweeper._supervisor import Supervisor
from hydra_plugins.hydra_wandb_sweeper._takeover import take_over
from hydra_plugins.hydra_wandb_sweeper._template import Template
from hydra_plugins.hydra_wandb_sweeper._walltime import WallTime
from hydra_plugins.hydra_wandb_sweeper.config import WandbSweeperConf

from .cluster import Cluster, Job
from .stand_ins import Dispatch, Isolation, Server, SharedLedger, Wakeup
from .timeline import Process, Timeline
from .workload import Scenario, Workload

# Until the supervisor notices a job's end: it asks SLURM that seldom while nothing happens (_slurm.Queue).
NOTICE_S = 30.0


def simulate(scenario: Scenario, trial_time_min: float | None = None) -> tuple[Workload, Cluster]:
    """Run a sweep to its end. trial_time_min: as in config.WandbSweeperConf."""
    timeline = Timeline()
    cluster = Cluster(scenario, timeline)
    workload = Workload(scenario, lambda: timeline.now_s)
    in_memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=in_memory) as folder, _own_environment():
        sweep = Sweep(scenario, timeline, cluster, workload, Path(folder), _settings(scenario, trial_time_min))
        Process(timeline, sweep.supervise, lambda: None)
        timeline.run()
        sweep.check()
    return workload, cluster


def _settings(scenario: Scenario, trial_time_min: float | None) -> AgentSettings:
    conf = WandbSweeperConf()
    return AgentSettings(
        max_retries=conf.max_retries,
        max_failure_rate=conf.max_failure_rate,
        max_consecutive_failures=conf.max_consecutive_failures,
        trials_per_agent=conf.trials_per_agent,
        trial_time_min=trial_time_min,
        resumable=scenario.resumable,
        # Nobody stops a trial here, so that agents needn't ask while one runs: 7,200 times in ten hours.
        heartbeat_s=1e9,
    )


@contextmanager
def _own_environment() -> Iterator[None]:
    """Agents ask the environment for what SLURM says of their job."""
    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@dataclass
class Sweep:
    """One sweep of the plugin's."""

    scenario: Scenario
    timeline: Timeline
    cluster: Cluster
    workload: Workload
    directory: Path
    settings: AgentSettings
    server: Server = field(init=False)
    record: SweepRecord = field(init=False)
    supervisor: Supervisor = field(init=False)
    process: Process = field(init=False)
    _has_news: bool = False
    _events: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.server = Server(self.scenario.trials)
        ref = SweepRef("me", "simulation", "sweep")
        server = ServerRef("local", "nowhere")
        self.record = SweepRecord(
            ref, server, "", "simulation", "grid", "loss", "minimize", Template(()), {}, self.scenario.trials
        )
        Ledger.create(self.directory, self.record, "supervisor")

    # --- the supervisor ---

    def supervise(self, process: Process) -> None:
        """What the command that starts a sweep does."""
        self.process = process
        ledger = Ledger(self.directory, "supervisor", process.stamp)
        agents_per_job = self.scenario.gpus_per_job
        job = AgentJob(None, self.directory, self.settings, "fork", agents_per_job, 0.0)  # type: ignore[arg-type]
        fleet = Fleet(
            Dispatch(self.cluster, self._make_job), job, clock=process.clock, reserve=ledger.reserve_job_numbers
        )
        self.supervisor = Supervisor(
            self.record,
            ledger,
            self.server,  # type: ignore[arg-type]
            fleet,
            History(),
            None,
            WandbSweeperConf().max_agent_restarts,
            sleep=self._sleep,
            clock=process.clock,
        )
        agents = min(self.scenario.agents or self.scenario.gpus, self.scenario.trials)
        self.supervisor.see_through(-(-agents // agents_per_job))

    def _sleep(self, _poll_s: float) -> None:
        """Until there may be something to see: a job's begin or end, or the time of a job that is due."""
        is_due = self.supervisor.fleet.has_due and self.cluster.room
        if not self._has_news and not is_due:
            self.process.wait(1e9)
        self.process.wait(NOTICE_S)
        self._has_news = False

    def _notice(self, _job: Job) -> None:
        self._has_news = True
        self.process.wake()

    # --- a job ---

    def _make_job(self, number: int) -> Job:
        return Job(lambda job: self._begin_job(number, job), self._notice)

    def _begin_job(self, number: int, job: Job) -> None:
        """See AgentJob.run."""
        agents: list[Agent] = []
        summaries: list[AgentSummary] = []
        names = agent_names(number, self.scenario.gpus_per_job, job.restarts)

        def host(name: str) -> None:
            process = Process(
                self.timeline,
                lambda process: summaries.append(self._run_agent(process, name, number, job, agents)),
                lambda: self._end_job(job, summaries) if len(summaries) == len(names) else None,
            )
            job.processes.append(process)

        def warn() -> None:
            for agent in agents:
                agent.on_signal(preempt_signal().name)

        job.warn = warn
        for name in names:
            host(name)

    def _run_agent(self, process: Process, name: str, number: int, job: Job, agents: list[Agent]) -> AgentSummary:
        process.wait(self.scenario.import_s)
        # What SLURM tells a job.
        os.environ.update(SLURM_RESTART_COUNT=str(job.restarts), SLURMD_NODENAME=f"node{job.node}")
        ledger = SharedLedger(self.directory, name, process.stamp, self._events)
        if job.restarts and name == agent_names(number, self.scenario.gpus_per_job, job.restarts)[0]:
            self._take_over_from_before(ledger, number)
        wakeup = Wakeup(process)
        agent = Agent(
            name,
            self.record,
            self.settings,
            client=self.server,  # type: ignore[arg-type]
            ledger=ledger,
            isolation=Isolation(self.workload, wakeup, job.processes),
            wakeup=wakeup,  # type: ignore[arg-type]
            wall_time=WallTime(job.begun_s + self.scenario.limit_s, self.scenario.warning_s, process.clock),
            job_number=number,
            clock=process.clock,
        )
        agents.append(agent)
        self._notice(job)
        return agent.run()

    def _take_over_from_before(self, ledger: Ledger, number: int) -> None:
        """See AgentJob._take_over_from_before."""
        history = History()
        history.add(EventReader(self.directory).new_events())
        for agent in history.agents_of_job(number):
            take_over(ledger, history, agent.name, self.settings.max_retries)

    def _end_job(self, job: Job, summaries: Sequence[AgentSummary]) -> None:
        """See SubmititTask."""
        out_of_time = any(summary.is_out_of_time for summary in summaries)
        if out_of_time or any(summary.was_stopped for summary in summaries):
            wall_time = WallTime(
                job.begun_s + self.scenario.limit_s, self.scenario.warning_s, lambda: self.timeline.now_s
            )
            timed_out = out_of_time or wall_time.is_timing_out()
            ending = Ending(timed_out, preempted=False, restarts=job.restarts, supervised=True)
            if should_requeue(ending, max_num_timeout=self.scenario.max_num_timeout).requeue:
                self.cluster.requeue(job)
                return
        self.cluster.end(job)

    # --- afterwards ---

    def check(self) -> None:
        """What the ledger says of the trials has to be what has happened; those it gave up have failed."""
        states = {number: trial.state for number, trial in self.supervisor.history.trials.items()}
        for number, state in states.items():
            if state != FINISHED:
                self.workload.fail(number)
        outcomes = {number: trial.outcome for number, trial in enumerate(self.workload.trials)}
        assert outcomes == {n: FINISHED if s == FINISHED else FAILED for n, s in states.items()}
