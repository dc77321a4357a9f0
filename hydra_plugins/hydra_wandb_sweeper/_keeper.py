"""A sweep that nobody watches: a small job that begins when a job of the agents' has ended, and sees what is left.

It takes up the trials of dead agents, submits jobs in the place of those that are missed and the next keeper, or
writes the results. Between its starts no process is needed anywhere, apart from the agents and the server.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra.core.utils import configure_log

from ._client import SweepClient
from ._control import Control
from ._disk import while_it_runs
from ._dispatch import JobHandle
from ._errors import SweepError, SweepFailedError
from ._fleet import Fleet
from ._history import History
from ._ledger import Ledger
from ._progress import Progress
from ._report import report, tell_rerun
from ._report_file import report_at_end
from ._results import collect, write
from ._slurm import as_outside_of_jobs, own_job_id
from ._submission import Submission
from ._submitit import SubmititDispatch
from ._supervisor import Supervisor
from ._watch import SILENCE_S, Watch

log = logging.getLogger(__name__)

# It sleeps between setbacks, and the server may be away.
_TIMEOUT_MIN = 60
# How long it tries to get its jobs accepted, before another keeper goes on with that.
_PATIENCE_S = 50 * 60.0
# Between two attempts after a refusal that is no limit: the controller may have been busy.
_AGAIN_S = 60.0
# Of the jobs whose ends are waited for one by one; each is looked at by SLURM whenever it schedules.
_MOST_WAITED_FOR = 1000
# It imports the user's code, to have it pickled for new jobs.
_MEM_GB = 4.0


def leave_to_keeper(ledger: Ledger, fleet: Fleet, *, at_first: bool, state: Keeper | None = None) -> str | None:
    """Submit a keeper to begin after the fleet's jobs; returns its id, None if the cluster doesn't take it.

    at_first: when the first of them has ended, not all. Where the agents use up a limit on jobs alone, one of them
    makes room. state: of the keeper before. Without a keeper the sweep still runs, but what dies is not replaced.
    """
    assert isinstance(fleet.dispatch, SubmititDispatch)
    keeper = state or Keeper(ledger.directory)
    try:
        try:
            job_id = keeper.submit(fleet.dispatch, fleet.live, at_first=at_first)
        except Exception:
            if len(fleet.live) < 2:
                raise
            ledger.record("jobs_dismissed", jobs=[fleet.end_last()])
            job_id = keeper.submit(fleet.dispatch, fleet.live, at_first=at_first)
    except Exception as error:  # noqa: BLE001 (whatever submitit raises: sbatch's words are in it)
        log.warning("Nobody will replace agents that die, the cluster takes no job that could: %s", error)
        return None
    ledger.record("keeper_submitted", job_id=job_id)
    when = "one of them has" if at_first and len(fleet.live) > 1 else "they have"
    log.info("Job %s begins when %s ended: it goes on with what is left, or writes the results.", job_id, when)
    return job_id


@dataclass(frozen=True)
class Keeper:
    """A keeper as submitit runs it. setbacks, progress: of the keepers before, see Supervisor.

    directory: of the sweep. It finds everything else in the sweep directory.
    """

    directory: Path
    setbacks: int = 0
    progress: int = -1

    def submit(self, dispatch: SubmititDispatch, after: Sequence[JobHandle], *, at_first: bool) -> str:
        """Submit it to begin after these jobs, or the first of them, and return its id. Errors: submitit's.

        Without any it begins after this very job.
        """
        ids = [job.job_id for job in after] or [own_job_id() or ""]
        return dispatch.submit_small(self, dependency(ids, at_first=at_first), _TIMEOUT_MIN, _MEM_GB)

    def __call__(self) -> None:
        """Keep the sweep going."""
        submission = Submission.load(self.directory)
        hydra: Any = submission.job.context.config.hydra
        configure_log(hydra.hydra_logging, hydra.verbose)
        with as_outside_of_jobs():
            try:
                with while_it_runs(self.directory):
                    self._keep(submission)
            except SweepError as error:
                log.error("%s", error)
                raise

    def _keep(self, submission: Submission) -> None:
        """Go on with the sweep, once. Errors: SweepError if the server can't be reached."""
        ledger = Ledger(self.directory, f"keeper-{os.getpid()}-{int(time.time())}")
        watch = Watch(ledger.root)
        if _is_watched(watch) or not watch.keep():
            log.info("A supervisor watches the sweep: nothing is left to do here.")
            return
        try:
            self._go_on(submission, ledger, watch)
        finally:
            watch.leave()

    def _go_on(self, submission: Submission, ledger: Ledger, watch: Watch) -> None:
        record, history = ledger.sweep(), History()
        fleet = submission.make_fleet(ledger)
        supervisor = Supervisor(
            record,
            ledger,
            SweepClient(record.server.open, patience_s=submission.job.server_patience_s),
            fleet,
            history,
            Progress(record, history),
            submission.max_agent_restarts,
            setbacks=self.setbacks,
            progress_at_setback=self.progress,
        )
        goes_on = supervisor.go_on_unattended(submission.jobs)
        deadline = time.monotonic() + _PATIENCE_S
        # With jobs under way, what a limit refuses is for the next keeper, which begins when one of them has ended.
        while goes_on and not (fleet.live and fleet.is_as_planned) and time.monotonic() < deadline and watch.keep():
            time.sleep(1.0)
            if Control(ledger.root).orders().ends_sweep:
                goes_on = False
            elif fleet.has_due:
                _start(fleet, history)
            else:  # the sweep is paused
                goes_on = supervisor.go_on_unattended(submission.jobs)
        results = collect(record, history, self.directory)
        write(results, self.directory)
        if goes_on:
            following = replace(self, setbacks=supervisor.setbacks, progress=supervisor.progress_at_setback)
            leave_to_keeper(ledger, fleet, at_first=supervisor.has_work_for_more, state=following)
            return
        best = results.summary["best_overrides"]
        again = submission.rerun_command(record, best) if best is not None else None
        report(results, record, history, self.directory)
        report_at_end(ledger)
        tell_rerun(again)


def dependency(job_ids: Sequence[str], *, at_first: bool) -> str:
    """Return SLURM's words for "when these jobs have ended" (sbatch --dependency), or the first of them."""
    if at_first:
        return "?".join(f"afterany:{job_id}" for job_id in job_ids[:_MOST_WAITED_FOR])
    arrays = sorted({job_id.partition("_")[0] for job_id in job_ids}, key=int)
    return "afterany:" + ":".join(arrays)


def _start(fleet: Fleet, history: History) -> None:
    """Start what is due; what the cluster refuses now is planned again, for nobody else would."""
    planned = fleet.strength
    try:
        fleet.start_due(history.bad_nodes())
    except SweepFailedError as error:
        log.warning("%s", error)
        if missing := planned - fleet.strength:
            fleet.plan(missing, _AGAIN_S)


def _is_watched(watch: Watch) -> bool:
    """True if a supervisor gives a sign of life while it is waited for: the last one may be that of a dead one."""
    first = watch.holder()
    deadline = time.monotonic() + SILENCE_S
    while first is not None and time.monotonic() < deadline:
        time.sleep(1.0)
        holder = watch.holder()
        if holder is None or holder.time > first.time:
            return holder is not None
    return False
