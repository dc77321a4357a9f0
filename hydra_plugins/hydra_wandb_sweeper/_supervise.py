"""A supervisor's work around the sweep: signals, what is said and written, and how others find the way back."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ._attention import Attention, LeftSweep
from ._client import SweepClient
from ._control import Control
from ._disk import while_it_runs, words
from ._dispatch import BlockingDispatch, launches_in_process
from ._errors import SweepDirectoryError, SweepFailedError
from ._fleet import Fleet
from ._history import History
from ._ledger import Ledger, SweepRecord
from ._outcome import FAILED
from ._processes import forget_dead_terminal
from ._progress import Progress, display_if_possible
from ._submission import Submission
from ._supervisor import Supervisor
from ._trial_table import QUEUED, RUNNING

if TYPE_CHECKING:
    from ._results import SweepResults

log = logging.getLogger(__name__)

_LOG_FILE = "supervisor.log"


def supervise(
    submission: Submission, ledger: Ledger, client: SweepClient, work: Callable[[Supervisor], None]
) -> SweepResults:
    """Watch a sweep until it ends, report, and return its results. work: what the supervisor is to do.

    Errors: SweepFailedError if it didn't go as it should, SweepDirectoryError if it can't be written down. SystemExit
    if a signal ended it.
    """
    with while_it_runs(ledger.directory):
        return _supervise(submission, ledger, client, work)


def _supervise(
    submission: Submission, ledger: Ledger, client: SweepClient, work: Callable[[Supervisor], None]
) -> SweepResults:
    record, history, directory = ledger.sweep(), History(), ledger.directory
    fleet = submission.make_fleet(ledger)
    progress = _make_progress(submission, record, history, fleet)
    control = Control(ledger.root)
    attention = Attention(lambda: _interrupt(control, history, directory), blocks=fleet.dispatch.blocks)
    restarts = submission.max_agent_restarts
    supervisor = Supervisor(record, ledger, client, fleet, history, progress, restarts, check=attention.check)
    if isinstance(fleet.dispatch, BlockingDispatch):
        fleet.dispatch.on_wait = supervisor.look
    with _log_file(ledger.root / _LOG_FILE), attention:
        try:
            with contextlib.closing(progress):
                work(supervisor)
        except LeftSweep as left:
            _leave(submission, supervisor, left)
            forget_dead_terminal()
            raise SystemExit(attention.exit_status) from None
        except KeyboardInterrupt:
            _try_to_write(supervisor)
            log.warning("Stopped. To go on where it was: hydra-sweep attach %s", directory)
            raise SystemExit(attention.exit_status) from None
        except BaseException as error:
            if isinstance(error, OSError | SweepDirectoryError):
                with contextlib.suppress(OSError):  # what ended it says more
                    _write(supervisor)
            else:
                _try_to_write(supervisor)
            raise
        results = _write(supervisor)
        failure = supervisor.failure(submission.max_failure_rate)
        is_interrupted = failure is not None and attention.last_signal is not None and control.orders().draining
        best = results.summary["best_overrides"]
        again = submission.rerun_command(record, best) if best is not None else None
        # Not imported before there is something to report.
        from ._report import report, tell_rerun

        report(results, record, history, directory, is_interrupted=is_interrupted)
        if is_interrupted:
            tell_rerun(again)
            log.warning("Interrupted: %s. To go on: hydra-sweep attach %s", failure, directory)
            raise SystemExit(attention.exit_status)
    # Not within: signals mean nothing to agents any more.
    from ._report_file import report_at_end
    from ._results import TRIALS_FILE

    with _log_file(ledger.root / _LOG_FILE):
        report_at_end(ledger)
        tell_rerun(again)
    if failure is None:
        return results
    what_to_do = _next_step(record, history, control, directory)
    raise SweepFailedError(f"The sweep failed: {failure}. See {directory / TRIALS_FILE}.{what_to_do}")


def _next_step(record: SweepRecord, history: History, control: Control, directory: Path) -> str:
    counts = history.counts()
    if control.orders().cancelled:
        return f" To run stopped trials again: hydra-sweep retry {directory} --trial N"
    if history.stop_reason:  # the server hands out no new trials any more
        return f" To run again what failed, once the cause is mended: hydra-sweep retry {directory}"
    if counts[RUNNING] or counts[QUEUED] or sum(counts.values()) < (record.expected_trials or 0):
        return f" To go on with what is left: hydra-sweep attach {directory}"
    return f" To run again what failed: hydra-sweep retry {directory}" if counts[FAILED] else ""


def _make_progress(submission: Submission, record: SweepRecord, history: History, fleet: Fleet) -> Progress:
    """Jobs that block write to this terminal themselves, and tell what happens.

    A display is possible where nobody writes past it: trials that are forked write into their own files.
    """
    blocks, job = fleet.dispatch.blocks, submission.job
    is_alone = launches_in_process(job.context.config) and job.isolation == "fork" and job.agents_per_job == 1
    display = display_if_possible() if is_alone or not blocks else None
    return Progress(record, history, display, tells_events=not blocks)


def run_unattended(submission: Submission, ledger: Ledger, jobs: int) -> None:
    """Submit the agents and return; on SLURM a job goes on when one has ended. Errors: SweepFailedError."""
    fleet = submission.make_fleet(ledger)
    fleet.plan(jobs)
    fleet.start_due()
    log.info("%d job(s) submitted; not waiting. Sweep page: %s", len(fleet.live), ledger.sweep().url)
    if submission.traits.kind == "submitit_slurm":
        from ._keeper import leave_to_keeper

        expected = ledger.sweep().expected_trials
        is_more = fleet.has_due or expected is None or expected > jobs * submission.job.agents_per_job
        leave_to_keeper(ledger, fleet, at_first=is_more)
    where = ledger.directory
    log.info("To look at it: hydra-sweep status %s; to watch over it: hydra-sweep attach %s", where, where)


def _interrupt(control: Control, history: History, directory: Path) -> None:
    control.drain()
    log.warning(
        "Interrupted: no more trials begin, and %d running one(s) may finish. Ctrl-C again stops them and cancels "
        "the jobs. To go on later: hydra-sweep attach %s",
        history.counts()[RUNNING],
        directory,
    )


def _leave(submission: Submission, supervisor: Supervisor, left: LeftSweep) -> None:
    """Go, while the agents go on; on SLURM a job sees to what they leave."""
    _try_to_write(supervisor)
    jobs = supervisor.fleet.live
    directory = supervisor.ledger.directory
    log.warning(
        "The supervisor leaves (%s), and %d job(s) go on. To look at them: hydra-sweep status %s; to watch over them "
        "again: hydra-sweep attach %s",
        left,
        len(jobs),
        directory,
        directory,
    )
    if jobs and submission.traits.kind == "submitit_slurm":
        from ._keeper import leave_to_keeper

        leave_to_keeper(supervisor.ledger, supervisor.fleet, at_first=True)


def _try_to_write(supervisor: Supervisor) -> None:
    """Write how far it is, where something else is to be said of why it ends."""
    try:
        _write(supervisor)
    except OSError as error:
        log.warning("The results can't be written: %s", words(error))


def _write(supervisor: Supervisor) -> SweepResults:
    from ._results import collect, write  # some milliseconds, that the first trial needn't wait for

    ledger = supervisor.ledger
    results = collect(supervisor.sweep, supervisor.history, ledger.directory)
    write(results, ledger.directory)
    return results


@contextlib.contextmanager
def _log_file(path: Path) -> Iterator[None]:
    """Write what this package logs into a file as well: a terminal may be closed, and then nobody sees it there."""
    handler = _LogFile(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("[%(asctime)s][%(levelname)s] %(message)s"))
    logger = logging.getLogger(__package__)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        with contextlib.suppress(OSError):
            handler.close()


class _LogFile(logging.FileHandler):
    """What a full disk doesn't take is on the terminal, without a traceback for each line."""

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)
