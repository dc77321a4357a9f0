"""A sweep that nobody watches: a small job that begins when all agents' jobs have ended, and sees what is left.

It takes up the trials of dead agents, submits jobs for what remains and a keeper after them, or writes the results.
Between its starts no process is needed anywhere, apart from the agents and the server.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cloudpickle
from hydra.core.utils import configure_log

from ._client import SweepClient
from ._dispatch import launcher_traits, make_dispatch
from ._errors import SweepError, SweepFailedError
from ._fleet import Fleet
from ._history import History
from ._job import AgentJob
from ._ledger import Ledger
from ._progress import Progress
from ._report import report
from ._results import collect, write
from ._submitit import SubmititDispatch, SubmititJob
from ._supervisor import Supervisor

log = logging.getLogger(__name__)

# It sleeps between setbacks, and the server may be away.
_TIMEOUT_MIN = 60
# Of the SLURM_* variables, those that tell sbatch and squeue how to reach the cluster, whoever calls them.
_OF_SLURM_S_CLIENT = ("SLURM_CONF", "SLURM_JWT")


@dataclass(frozen=True)
class Keeper:
    """What a keeper has to know.

    job: of the agents. target: jobs at a time. next_job: number of the next one. max_agent_restarts: as in
    config.WandbSweeperConf. setbacks, progress: of the keepers before, see Supervisor.
    """

    job: AgentJob
    target: int
    next_job: int
    max_agent_restarts: int
    setbacks: int = 0
    progress: int = -1

    def submit(self, dispatch: SubmititDispatch, after: Sequence[SubmititJob]) -> str | None:
        """Submit it to begin after these jobs; returns its id, None if the cluster doesn't take it.

        Without it the sweep still runs, but what dies is not replaced.
        """
        arrays = sorted({job.job_id.partition("_")[0] for job in after}, key=int)
        task = KeeperTask(cloudpickle.dumps(self), self.job.sys_path)
        try:
            return dispatch.submit_small(task, "afterany:" + ":".join(arrays), _TIMEOUT_MIN)
        except Exception as error:  # noqa: BLE001 (whatever submitit raises: sbatch's words are in it)
            log.warning("Nobody will replace agents that die, the cluster takes no job that could: %s", error)
            return None

    def keep(self) -> None:
        """Go on with the sweep, once. Errors: SweepError if the server can't be reached."""
        ledger = Ledger(self.job.directory, f"keeper-{self.next_job}")
        record, history = ledger.sweep(), History()
        config = self.job.context.config
        dispatch = make_dispatch(config, self.job.context.hydra_context, launcher_traits(config), [])
        assert isinstance(dispatch, SubmititDispatch)
        fleet = Fleet(dispatch, self.job, first_number=self.next_job)
        supervisor = Supervisor(
            record,
            ledger,
            SweepClient(record.server.open, patience_s=self.job.server_patience_s),
            fleet,
            history,
            Progress(record, history).show,
            self.max_agent_restarts,
            setbacks=self.setbacks,
            progress_at_setback=self.progress,
        )
        goes_on = supervisor.go_on_unattended(self.target)
        while goes_on and not fleet.live:
            time.sleep(1.0)
            try:
                fleet.start_due(history.bad_nodes())
            except SweepFailedError as error:
                if not error.is_limit:
                    raise
                log.warning("%s", error)
        results = collect(record, history, self.job.directory)
        write(results, self.job.directory)
        if goes_on:
            following = replace(
                self,
                next_job=fleet.next_number,
                setbacks=supervisor.setbacks,
                progress=supervisor.progress_at_setback,
            )
            following.submit(dispatch, [job for job in fleet.live if isinstance(job, SubmititJob)])
            return
        report(results, record, self.job.directory)


@dataclass(frozen=True)
class KeeperTask:
    """A keeper as submitit runs it. payload: a Keeper, pickled; see _job.SubmititTask."""

    payload: bytes
    sys_path: tuple[str, ...]

    def __call__(self) -> None:
        """Keep the sweep going."""
        import submitit

        sys.path[:] = [*self.sys_path, *(entry for entry in sys.path if entry not in self.sys_path)]
        keeper: Keeper = cloudpickle.loads(self.payload)
        keeper.job.context.restore()
        hydra: Any = keeper.job.context.config.hydra
        configure_log(hydra.hydra_logging, hydra.verbose)
        client = {name: os.environ[name] for name in _OF_SLURM_S_CLIENT if name in os.environ}
        # A job submitted from within a job would inherit what SLURM and submitit say of this one.
        with submitit.helpers.clean_env():
            os.environ.update(client)
            try:
                keeper.keep()
            except SweepError as error:
                log.error("%s", error)
                raise
