"""What the commands of `hydra-sweep` do to the sweep of a directory, whether somebody watches it or not."""

from __future__ import annotations

import logging
import socket
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from . import _slurm
from ._client import SweepClient
from ._control import Control, without_restarts
from ._errors import SweepError, SweepFailedError
from ._events import EventReader
from ._follow import follow
from ._history import History, JobRecord
from ._ledger import Ledger, SweepRecord
from ._outcome import FAILED, STOPPED
from ._plan import START_PATIENCE_S
from ._processes import process_start, terminate
from ._results import TRIALS_FILE
from ._server import ServerRef, choose_server, server_of_page
from ._settings import is_url
from ._status import UNKNOWN, is_elsewhere, job_states, read_status
from ._submission import Submission
from ._supervise import run_unattended, supervise
from ._watch import Watch

log = logging.getLogger(__name__)


def open_ledger(directory: Path) -> Ledger:
    """Return the ledger for a command's own events. Errors: SweepError if there is no sweep."""
    return Ledger.open(directory, f"command-{socket.gethostname()}-{uuid.uuid4().hex[:8]}")


def read_history(directory: Path) -> History:
    """Return what has happened in the sweep so far."""
    history = History()
    history.add(EventReader(directory).new_events())
    return history


def attach(directory: Path) -> None:
    """Watch over a sweep until it ends: as its supervisor, or beside the one it has and in its place afterwards.

    A sweep that was interrupted goes on. Errors: SweepError.
    """
    ledger = open_ledger(directory)
    if (holder := Watch(ledger.root).holder()) is not None:
        log.info("Process %d on %s supervises the sweep; following it.", holder.pid, holder.host)
        try:
            follow(ledger)
        except KeyboardInterrupt:
            log.info("Not following it any more; the sweep goes on.")
            raise SystemExit(130) from None
        if Control(ledger.root).orders().ends_sweep:
            log.info("The sweep was told to begin no more trials. To go on with it, attach again.")
            return
    _refuse_living_agents(read_history(directory))
    submission = Submission.load(ledger.directory)
    control = Control(ledger.root)
    if control.orders().cancelled:
        raise SweepError(
            f"The sweep of {directory} was cancelled: its trials were stopped for good. To run some of them again: "
            f"hydra-sweep retry {directory} --trial N"
        )
    control.allow()
    supervise(submission, ledger, _client(submission, ledger), lambda s: s.go_on(submission.jobs))


def _client(submission: Submission, ledger: Ledger) -> SweepClient:
    record = ledger.sweep()
    submission.start_server(record.server)
    return open_client(record)


def _refuse_living_agents(history: History) -> None:
    """Agents without a job of their own die with their supervisor; one that hasn't yet would run trials twice."""
    for job in history.jobs.values():
        if is_elsewhere(job) and _may_live(job, history):
            raise SweepError(
                f"Job {job.job_id} of this sweep was started on {job.host}, and whether it still runs can be seen "
                "only there. Run this command there."
            )
    for agent in history.agents.values():
        if agent.ended is not None or agent.job_number in history.jobs:
            continue
        if agent.host != socket.gethostname():
            raise SweepError(
                f"{agent.name} ran on {agent.host} (process {agent.pid}), and whether it still does can be seen only "
                "there. Run this command there."
            )
        if process_start(agent.pid) == agent.process_start:
            raise SweepError(f"{agent.name} still runs, as process {agent.pid}. Wait for its end, or kill it.")


def _may_live(job: JobRecord, history: History) -> bool:
    agents = history.agents_of_job(job.number)
    return not agents or any(agent.ended is None for agent in agents)


def add_agents(directory: Path, count: int) -> tuple[list[str], int]:
    """Submit jobs with `count` more agents; returns the jobs' ids, and how many jobs follow.

    Those are what the cluster accepts only as others end, of which somebody has to take notice: a supervisor, or a
    keeper. Errors: SweepError.
    """
    ledger = open_ledger(directory)
    submission = Submission.load(ledger.directory)
    if not submission.traits.is_submitit:
        raise SweepError(
            f"The launcher '{submission.traits.kind}' can't add jobs to a sweep that runs; submitit_local and "
            "submitit_slurm can. Repeat the sweep's command with its sweep_id to have more agents."
        )
    state = read_status(ledger.directory).state
    if state not in ("running", "paused", "idle"):
        raise SweepError(f"The sweep is {state}: there is nothing for more agents to do.")
    per_job = submission.job.agents_per_job
    if count % per_job:
        raise SweepError(f"--add {count}: must be a multiple of hydra.sweeper.agents_per_job={per_job}.")
    history = read_history(ledger.directory)
    _client(submission, ledger)  # the server runs
    fleet = submission.make_fleet(ledger)
    planned = count // per_job
    fleet.plan(planned)
    is_seen_to = Watch(ledger.root).holder() is not None or read_status(ledger.directory).keeper is not None
    try:
        fleet.start_due(history.bad_nodes())
    except SweepFailedError as error:
        if not (error.is_limit and is_seen_to):
            raise
    added = planned if is_seen_to else len(fleet.live)
    # Only now: a supervisor that knew of them before it saw them would submit them itself.
    ledger.record("jobs_added", jobs=added)
    return [handle.job_id for handle in fleet.live], added - len(fleet.live)


def drain(directory: Path, agents: Sequence[str]) -> list[str]:
    """Let agents, by their names or their jobs' ids, end after their present trial; returns their names.

    They aren't replaced. A job that waits in the queue is cancelled. Errors: SweepError for unknown ones.
    """
    ledger = open_ledger(directory)
    history = read_history(ledger.directory)
    control = Control(ledger.root)
    names = [name for given in agents for name in _agents_named(given, history)]
    numbers = {_job_number(name) for name in names}
    gone = [n for n in numbers if all(a.name in names or a.ended for a in history.agents_of_job(n))]
    for name in names:
        control.drain(name)
    ledger.record("jobs_drained", jobs=gone)
    _cancel_waiting(gone, history)
    return names


def _agents_named(given: str, history: History) -> list[str]:
    """Return the agents that a name, or a job's id, stands for; a waiting job's has the name of its first one."""
    if given in history.agents and history.agents[given].ended is None:
        return [given]
    for number, job in history.jobs.items():
        if given in (job.job_id, f"agent-{number}"):
            living = [agent.name for agent in history.agents_of_job(number) if agent.ended is None]
            if living or job_states([job]):
                return living or [f"agent-{number}"]
    known = ", ".join(name for name, agent in history.agents.items() if agent.ended is None) or "none"
    raise SweepError(f"'{given}' is neither an agent that works nor the id of a job of this sweep. Agents: {known}.")


def _job_number(agent: str) -> int:
    return int(without_restarts(agent).removeprefix("agent-").partition("-")[0])


def _cancel_waiting(numbers: Sequence[int], history: History) -> None:
    ids = [history.jobs[n].job_id for n in numbers if n in history.jobs and history.jobs[n].cluster == "slurm"]
    try:
        _slurm.cancel(ids, waiting_only=True)
    except _slurm.SlurmCallError as error:
        raise SweepError(f"Jobs can't be cancelled: {error}. Cancel them by hand: scancel {' '.join(ids)}") from error


def cancel(directory: Path) -> None:
    """Stop the sweep's trials for good and end its jobs. Errors: SweepError."""
    ledger = open_ledger(directory)
    control, history, record = Control(ledger.root), read_history(ledger.directory), ledger.sweep()
    control.cancel()
    jobs = [history.jobs[number] for number in job_states(history.jobs.values())]
    waiting = [job for job in jobs if not history.agents_of_job(job.number)]
    _cancel_waiting([job.number for job in waiting], history)
    for job in waiting:
        if job.cluster == "local" and not is_elsewhere(job):
            terminate(int(job.job_id))
    # These agents see to it within a heartbeat; the server makes it known to those that were started elsewhere.
    try:
        open_client(record).cancel_sweep(record.sweep)
    except SweepError as error:
        log.warning("The server can't be told, so agents that were started elsewhere may go on: %s", error)


def retry(directory: Path, numbers: Sequence[int] = ()) -> list[int]:
    """Offer trials that have failed again, under their run ids; returns their numbers. numbers: only these.

    Stopped trials can be named too. Errors: SweepError.
    """
    ledger = open_ledger(directory)
    history = read_history(ledger.directory)
    for number in numbers:
        state = history.trials[number].state if number in history.trials else "unknown"
        if state not in (FAILED, STOPPED):
            raise SweepError(
                f"Trial {number} is {state}: only failed and stopped ones can be retried. "
                f"{directory / TRIALS_FILE} lists all."
            )
    chosen = [
        (n, t.trial) for n, t in sorted(history.trials.items()) if (n in numbers if numbers else t.state == FAILED)
    ]
    if chosen:
        ledger.record("reopened")
        Control(ledger.root).reopen()
    for _, trial in chosen:
        ledger.failures.unmark(trial.number)
        ledger.offer_again(replace(trial, failures=0), "it is retried by hand")
    return [number for number, _ in chosen]


def is_worked_on(directory: Path) -> bool:
    """True if a supervisor or a job will see to trials that are offered now."""
    ledger = Ledger.open(directory, "")
    if Watch(ledger.root).holder() is not None:
        return True
    history = read_history(directory)
    return any(state != UNKNOWN for state in job_states(history.jobs.values()).values())


def leave_alone(directory: Path, trials: int) -> None:
    """Submit jobs for trials that are on offer, and leave them to themselves. Errors: SweepError."""
    ledger = open_ledger(directory)
    submission = Submission.load(ledger.directory)
    if not submission.traits.is_submitit:
        raise SweepError(
            f"The launcher '{submission.traits.kind}' can't run without being waited for: leave out --no-wait."
        )
    _client(submission, ledger)
    run_unattended(submission, ledger, min(submission.jobs, -(-trials // submission.job.agents_per_job)))


def open_client(record: SweepRecord) -> SweepClient:
    """Return a client of a sweep's server. Errors: SweepError."""
    return SweepClient(record.server.open, patience_s=START_PATIENCE_S)


def server_named(target: str, setting: str, directory: Path) -> ServerRef:
    """Return the server of a sweep that is named by its path, or by its page's URL.

    setting: as hydra.sweeper.server, for a path. directory: the project's. Errors: SweepError.
    """
    if not is_url(target):
        return choose_server(setting, directory)
    server = server_of_page(target, directory)
    if setting != "auto" and choose_server(setting, directory).place != server.place:
        raise SweepError(f"'{target}' is not at --server {setting}. Leave --server out: the URL says where it is.")
    return server
