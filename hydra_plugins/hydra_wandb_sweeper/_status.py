"""How a sweep is, for people and for programs: from its ledger, its jobs' states and what stands in `control`."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from . import _slurm
from ._client import RunInfo, SweepInfo
from ._control import Control, Orders
from ._events import EventReader
from ._history import AgentHistory, History, JobRecord
from ._ledger import Ledger, SweepRecord
from ._outcome import FAILED, FINISHED, STOPPED, numbers
from ._output_place import TRIAL_LOG
from ._processes import is_alive, process_start
from ._results import collect
from ._sweep_config import read_metric, read_template
from ._trial_table import QUEUED, RUNNING, TrialHistory
from ._watch import Watch, Watcher
from ._wording import one_line

log = logging.getLogger(__name__)

UNKNOWN = "UNKNOWN"
_TAIL_BYTES = 4096
# The number under which job_states is asked for the keeper's job (see _keeper).
KEEPER = -1


@dataclass(frozen=True)
class AgentStatus:
    """An agent, or a job that waits for its first one. job: its id; job_state: SLURM's word, None if there is none.

    trial: number of the one it runs, for trial_s so far. trials: how many it has brought to an end. ended: why it
    left, None while it hasn't.
    """

    name: str
    job: str | None
    job_state: str | None
    host: str | None
    trial: int | None
    trial_s: float | None
    trials: int
    ended: str | None


@dataclass(frozen=True)
class FailureStatus:
    """A trial that has failed for good. trial: its number, None if only the server knows of it.

    log: its path, None if it wrote none; last_line: of it.
    """

    trial: int | None
    run_id: str
    error: str
    log: str | None
    last_line: str | None


@dataclass(frozen=True)
class StoppedStatus:
    """A trial that was stopped for good, by early_terminate or by a person."""

    trial: int
    run_id: str
    reason: str


@dataclass(frozen=True)
class SweepStatus:
    """state: running, paused, draining, cancelled, stopped, finished, or idle: trials are left and nobody runs them.

    reason: why it is stopped. supervisor: pid@host of who watches it. keeper: id of the job that sees to the sweep
    when all others have ended, if it waits or runs. trials: how many are in each state. expected: how many there will
    be, None if only the server knows. best_*: as in optimization_results.yaml. stopped: without those of which only
    the server knows. best_run: id of the best trial's run. notes: sentences.
    """

    sweep: str
    url: str
    state: str
    reason: str | None
    supervisor: str | None
    keeper: str | None
    trials: Mapping[str, int]
    expected: int | None
    metric: str
    best_value: float | None
    best_trial: int | None
    best_overrides: list[str] | None
    best_dir: str | None
    agents: list[AgentStatus]
    failures: list[FailureStatus]
    stopped: list[StoppedStatus]
    best_run: str | None = None
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return it as plain containers."""
        return asdict(self)


def read_status(directory: Path) -> SweepStatus:
    """Return how the sweep of a directory is. Errors: SweepError if there is none."""
    ledger = Ledger.open(directory, "")
    history = History()
    history.add(EventReader(directory).new_events())
    orders, watcher = Control(ledger.root).orders(), Watch(ledger.root).holder()
    # All of them: a job whose agents have ended may have been put back into the queue.
    keeper = JobRecord(KEEPER, history.keeper_job, "slurm", "", "") if history.keeper_job is not None else None
    states = job_states([*history.jobs.values(), *([keeper] if keeper is not None else [])])
    return sweep_status(ledger.sweep(), history, orders, watcher, states, directory, time.time())


def job_states(jobs: Iterable[JobRecord]) -> dict[int, str]:
    """Return number -> state of those jobs that haven't ended, by one question to SLURM.

    UNKNOWN where nobody can be asked.
    """
    states: dict[int, str] = {}
    slurm = [job for job in jobs if job.cluster == "slurm"]
    try:
        listed = _slurm.queued_states([job.job_id for job in slurm]) if slurm else {}
        states |= {job.number: listed[job.job_id] for job in slurm if job.job_id in listed}
    except _slurm.SlurmCallError as error:
        log.warning("The states of jobs can't be asked for: %s", error)
        states |= {job.number: UNKNOWN for job in slurm}
    for job in (job for job in jobs if job.cluster != "slurm"):
        if is_elsewhere(job):
            states[job.number] = UNKNOWN
        elif is_alive(int(job.job_id), "submitit"):
            states[job.number] = "RUNNING"
    return states


def is_elsewhere(job: JobRecord) -> bool:
    """True for a local job of another machine, of which nothing can be known here."""
    return job.cluster != "slurm" and job.host != socket.gethostname()


def sweep_status(
    record: SweepRecord,
    history: History,
    orders: Orders,
    watcher: Watcher | None,
    states: Mapping[int, str],
    directory: Path,
    now: float,
) -> SweepStatus:
    """Put together what is known. states: of jobs that haven't ended, by number. now: seconds since the epoch."""
    summary = collect(record, history, directory).summary
    agents = [_agent(agent, history, states, now) for agent in history.agents.values()]
    waiting = [job for number, job in history.jobs.items() if _waits(number, history, states)]
    agents += [_waiting(job, states[job.number]) for job in waiting]
    best = next((t for t in history.trials.values() if t.trial.run_id == summary["best_run_id"]), None)
    return SweepStatus(
        sweep=record.sweep.path,
        url=record.url,
        state=_state(record, history, orders, KEEPER in states or any(agent.ended is None for agent in agents)),
        reason=history.stop_reason,
        supervisor=f"{watcher.pid}@{watcher.host}" if watcher is not None else None,
        keeper=history.keeper_job if KEEPER in states else None,
        trials=summary["trials"],
        expected=record.expected_trials,
        metric=record.metric_name,
        best_value=summary["best_value"],
        best_trial=best.trial.number if best is not None else None,
        best_overrides=summary["best_overrides"],
        best_dir=summary["best_dir"],
        agents=agents,
        failures=[_failure(t) for _, t in sorted(history.trials.items()) if t.state == FAILED],
        stopped=[
            StoppedStatus(number, t.trial.run_id, t.error_line or "")
            for number, t in sorted(history.trials.items())
            if t.state == STOPPED
        ],
        best_run=summary["best_run_id"],
    )


def _agent(agent: AgentHistory, history: History, states: Mapping[int, str], now: float) -> AgentStatus:
    job = history.jobs.get(agent.job_number)
    mine = [trial for trial in history.trials.values() if trial.agent == agent.name]
    running = next((trial for trial in mine if trial.state == RUNNING), None)
    ended = agent.ended
    if ended is None and (agent.job_number not in states if job is not None else _is_gone(agent)):
        ended = "it died"
    return AgentStatus(
        agent.name,
        job.job_id if job is not None else None,
        states.get(agent.job_number) if ended is None else None,
        agent.node or agent.host,
        running.trial.number if running is not None and ended is None else None,
        round(now - running.started, 1) if running is not None and ended is None else None,
        sum(trial.state not in (RUNNING, QUEUED) for trial in mine),
        ended,
    )


def _is_gone(agent: AgentHistory) -> bool:
    """True for an agent without a job of its own whose process was on this machine, and isn't any more."""
    return agent.host == socket.gethostname() and process_start(agent.pid) != agent.process_start


def _waits(number: int, history: History, states: Mapping[int, str]) -> bool:
    """True for a job whose next agent, or first one, is yet to come; one that just ends has had its last."""
    agents = history.agents_of_job(number)
    return number in states and (not agents or (states[number] == "PENDING" and all(a.ended for a in agents)))


def _waiting(job: JobRecord, state: str) -> AgentStatus:
    return AgentStatus(f"agent-{job.number}", job.job_id, state, None, None, None, 0, None)


def _state(record: SweepRecord, history: History, orders: Orders, is_worked_on: bool) -> str:
    if orders.cancelled:
        return "cancelled"
    if history.stop_reason:
        return "stopped"
    counts = history.counts()
    is_claimed = history.found_no_more or sum(counts.values()) >= (record.expected_trials or 0)
    is_open = counts[RUNNING] or counts[QUEUED] or not is_claimed
    if not is_open and not is_worked_on:
        return "finished"
    if not is_worked_on:
        return "idle"
    return "draining" if orders.draining else "paused" if orders.paused else "running"


def _failure(history: TrialHistory) -> FailureStatus:
    path = Path(history.output_dir) / TRIAL_LOG if history.output_dir else None
    line = last_line(path) if path is not None else None
    return FailureStatus(
        history.trial.number,
        history.trial.run_id,
        history.error_line or "",
        str(path) if path is not None and line is not None else None,
        line,
    )


def last_line(path: Path) -> str | None:
    """Return the last line of a file that isn't blank, None if it can't be read; it may be very long."""
    try:
        with open(path, "rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return None
    told = [line.strip() for line in lines if line.strip()]
    # W&B's SDK ends every log with where the run is to be found.
    return one_line(
        next((line for line in reversed(told) if not line.startswith("wandb:")), told[-1] if told else "")
    )


def server_status(info: SweepInfo, url: str, runs: Iterable[RunInfo]) -> SweepStatus:
    """The same for a sweep of which only the server is known: no agents, no directories."""
    metric = read_metric(info.config)
    name, goal = str(metric.get("name") or "objective"), metric.get("goal")
    known = list(runs)
    counts: dict[str, int] = {}
    for run in known:
        counts[run.state] = counts.get(run.state, 0) + 1
    values = [(numbers(run.summary).get(name), run) for run in known if run.state == FINISHED]
    valued = [(value, run) for value, run in values if value is not None]
    choose = max if goal == "maximize" else min
    best_value, best = choose(valued, key=lambda one: one[0]) if valued else (None, None)
    failed = [run for run in known if run.state in (FAILED, "crashed")]
    return SweepStatus(
        sweep=info.ref.path,
        url=url,
        state=info.state.lower(),
        reason=None,
        supervisor=None,
        keeper=None,
        trials=counts,
        expected=None,
        metric=name,
        best_value=float(best_value) if best_value is not None else None,
        best_trial=None,
        best_overrides=_swept_values(info.config, best) if best is not None else None,
        best_dir=None,
        agents=[],
        failures=[_failed_run(run) for run in failed],
        stopped=[],
        best_run=best.run_id if best is not None else None,
    )


def _swept_values(sweep_config: Mapping[str, Any], run: RunInfo) -> list[str]:
    swept = (name for name, spec in (sweep_config.get("parameters") or {}).items() if "value" not in spec)
    known = {name: run.config[name] for name in swept if name in run.config}
    return [f"{name}={value}" for name, value in read_template(sweep_config).values(known).items()]


def _failed_run(run: RunInfo) -> FailureStatus:
    return FailureStatus(None, run.run_id, str(run.summary.get("trial_error") or run.state), None, None)
