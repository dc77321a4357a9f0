"""What it takes to go on with a sweep from another process: kept in the sweep directory, for its owner alone."""

from __future__ import annotations

import logging
import os
import pickle
import stat
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cloudpickle
from hydra.types import RunMode

from ._dispatch import Dispatch, JobHandle, LauncherTraits, make_dispatch
from ._errors import SweepError
from ._files import replacing
from ._fleet import Fleet
from ._job import AgentJob
from ._ledger import Ledger, SweepRecord
from ._pickling import dumps
from ._rerun import rerun_command
from ._server import ServerRef, start_if_local

if TYPE_CHECKING:
    from wandb_sweep_server.launch import PreparedServer

log = logging.getLogger(__name__)

_FILE = "submission.pkl"


@dataclass(frozen=True, eq=False, repr=False)
class Submission:
    """job: what each job of the sweep runs. jobs: how many at a time. traits: of the launcher.

    overrides: of some trial; see make_dispatch. max_agent_restarts, max_failure_rate, server_job: as in
    config.WandbSweeperConf.
    """

    job: AgentJob
    jobs: int
    traits: LauncherTraits
    overrides: tuple[str, ...]
    max_agent_restarts: int
    max_failure_rate: float
    server_job: bool = False

    def start_server(self, server: ServerRef, prepared: PreparedServer | None = None) -> None:
        """See to it that an embedded server runs, where the jobs can reach it. Errors: SweepError.

        prepared: see _server.prepared_if_local.
        """
        if self.server_job:
            from ._server_job import start_in_job
            from ._submitit import SubmititDispatch

            dispatch = self._make_dispatch()
            assert isinstance(dispatch, SubmititDispatch)
            start_in_job(Path(server.place), dispatch)
            return
        start_if_local(server, self.traits.server_host, prepared)

    def save(self) -> None:
        """Write it into the sweep directory, readable by its owner only. Errors: OSError."""
        path = _path(self.job.directory)
        try:
            payload = dumps(self)
        except (pickle.PicklingError, TypeError, AttributeError) as error:
            # Launchers that stay in this process don't need it.
            log.warning("Your task can't be pickled, so no other process can go on with this sweep: %s", error)
            return
        # As in SubmititTask: what unpickling imports is found on sys_path only.
        data = pickle.dumps((self.job.sys_path, payload))
        with replacing(path) as temporary:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)

    @staticmethod
    def load(directory: Path) -> Submission:
        """Read it and put Hydra's state and sys.path in place, as the sweep's jobs do.

        Errors: SweepError if there is none, if another user could have written it, or if it can't be read here.
        """
        path = _path(directory)
        try:
            _refuse_others(path, os.stat(path))
            with open(path, "rb") as file:
                _refuse_others(path, os.fstat(file.fileno()))
                sys_path, payload = pickle.load(file)  # noqa: S301 (written by this user, see _refuse_others)
        except FileNotFoundError:
            raise SweepError(
                f"{directory} has no {path.name}: its task couldn't be pickled, or it was never submitted. Start the "
                "sweep anew by its own command."
            ) from None
        sys.path[:] = [*sys_path, *(entry for entry in sys.path if entry not in sys_path)]
        try:
            submission: Submission = cloudpickle.loads(payload)
        except Exception as error:  # whatever the user's modules raise when they are imported
            raise SweepError(
                f"What {directory} was submitted with can't be loaded: {type(error).__name__}: {error}. "
                "Run hydra-sweep with the Python environment, and the code, that the sweep was started with."
            ) from error
        submission.job.context.restore()
        return submission

    def make_fleet(self, ledger: Ledger) -> Fleet:
        """Return a fleet that numbers its jobs by the ledger and records there what it starts."""

        def record(handles: Sequence[JobHandle]) -> None:
            if ids := [handle.job_id for handle in handles if handle.job_id]:
                log.info("Submitted %d job(s): %s", len(ids), in_short(ids))
            for handle in handles:
                if (job := handle.record()) is not None:
                    ledger.record("job_submitted", **asdict(job))

        return Fleet(self._make_dispatch(), self.job, reserve=ledger.reserve_job_numbers, on_started=record)

    def rerun_command(self, record: SweepRecord, overrides: Sequence[str]) -> str | None:
        """Return a command line that runs a configuration again, None if nobody knows how the app was started."""
        return rerun_command(record.start, overrides, self._mode_of) if record.start is not None else None

    def _mode_of(self, overrides: Sequence[str]) -> RunMode | None:
        context = self.job.context
        name, loader = context.config.hydra.job.config_name, context.hydra_context.config_loader
        try:
            config = loader.load_configuration(name, list(overrides), RunMode.RUN)
        except Exception:  # noqa: BLE001 (whatever Hydra and resolvers of the user's raise)
            return None
        return config.hydra.mode or RunMode.RUN

    def _make_dispatch(self) -> Dispatch:
        context = self.job.context
        return make_dispatch(context.config, context.hydra_context, self.traits, list(self.overrides))


def _path(directory: Path) -> Path:
    return Ledger(directory, "").root / _FILE


def _refuse_others(path: Path, status: os.stat_result) -> None:
    """Unpickling runs code: only what this user alone can have written is read."""
    if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise SweepError(
            f"{path} belongs to another user, or others may write to it, and loading it would run what is in it. "
            "Only who started a sweep can go on with it; anybody may look at it with hydra-sweep status."
        )


def in_short(job_ids: Sequence[str]) -> str:
    """Return the ids of jobs as SLURM shows arrays: 7_[0-3], 9."""
    arrays: dict[str, list[int]] = {}
    for job_id in job_ids:
        array, _, task = job_id.partition("_")
        arrays.setdefault(array, []).extend([int(task)] if task else [])
    return ", ".join(
        f"{array}_[{min(tasks)}-{max(tasks)}]" if len(tasks) > 1 else f"{array}_{tasks[0]}" if tasks else array
        for array, tasks in arrays.items()
    )
