"""Agents as jobs of submitit: submitted without waiting for them, by hydra-submitit-launcher's own settings."""

from __future__ import annotations

import contextlib
import io
import logging
import socket
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext
from omegaconf import DictConfig

from . import _slurm
from ._errors import SweepFailedError
from ._history import AgentHistory, JobRecord
from ._job import AgentJob, SubmititTask
from ._processes import apart_from_terminal, is_alive, kill, terminate
from ._slurm import Queue, SlurmCallError

log = logging.getLogger(__name__)

_LOG_TAIL_LINES = 8
# Parameters of the launcher and options of sbatch that ask for more than a small job needs.
_OF_LARGE_JOBS = frozenset(
    {"gpus", "gpus_per_node", "gpus_per_task", "gpus_per_socket", "cpus_per_gpu", "mem_per_gpu", "gres"}
    | {"exclusive", "array_parallelism"}
)
# How SLURM says that a user, an account or the cluster may have no more jobs for now.
_LIMIT_WORDS = ("SubmitJob", "JobLimit", "MaxJobs", "temporarily unable to accept job", "submit limit")


@dataclass
class SubmititDispatch:
    """See _dispatch.Dispatch. cluster: local | slurm."""

    config: DictConfig
    context: HydraContext
    cluster: str
    queue: Queue = field(default_factory=Queue)
    blocks: bool = False
    _live: set[str] = field(default_factory=set)
    _largest_array: int | None = None

    def start(self, job: AgentJob, numbers: Sequence[int], avoid: Sequence[str] = ()) -> list[SubmititJob]:
        """Submit as many jobs as the cluster accepts now, from the first number on. avoid: nodes to exclude.

        Errors: SweepFailedError with sbatch's own words if it accepts none.
        """
        handles: list[SubmititJob] = []
        left = list(numbers)
        size = self._array_size()
        while left:
            part = left[:size]
            try:
                handles += self._submit(job, part, avoid)
            except Exception as error:
                # What fits is found by halving; the rest is submitted as jobs end.
                if _is_limit(error) and len(part) > 1:
                    size = len(part) // 2
                    continue
                if handles:
                    # What was submitted is to be watched in any case; the rest is tried again, or its error is shown.
                    log.warning("Not all jobs can be submitted now: %s", error)
                    break
                raise SweepFailedError(
                    f"The jobs can't be submitted: {error}\nCheck the settings of hydra.launcher.",
                    is_limit=_is_limit(error),
                ) from error
            left = left[len(part) :]
        return handles

    def _array_size(self) -> int:
        if self.cluster != "slurm":
            return 1
        if self._largest_array is None:
            self._largest_array = _slurm.max_array_size()
        return self._largest_array

    def _submit(self, job: AgentJob, numbers: Sequence[int], avoid: Sequence[str]) -> list[SubmititJob]:
        params = dict(self._launcher().params)  # type: ignore[attr-defined]
        if avoid and self.cluster == "slurm":
            params["exclude"] = ",".join(filter(None, (params.get("exclude"), *avoid)))
        executor = _executor(params, self.cluster)
        task = SubmititTask.pack(job)
        # Jobs on this machine share its terminal; they are told what to do by other means.
        apart = apart_from_terminal() if self.cluster == "local" else contextlib.nullcontext()
        with _no_leftovers(Path(str(executor.folder))), _words_once(), apart:
            jobs = executor.map_array(task, list(numbers))
        handles = [
            SubmititJob(number, str(job.job_id), Path(job.paths.stderr), self, job)
            for number, job in zip(numbers, jobs, strict=True)
        ]
        for handle in handles if self.cluster == "slurm" else ():
            self._live.add(handle.job_id)
            self.queue.expect(handle.job_id)
        return handles

    def adopt(self, jobs: Iterable[JobRecord]) -> list[SubmititJob]:
        """Return handles for jobs that another process submitted, as far as they haven't ended."""
        handles = [SubmititJob(job.number, job.job_id, Path(job.log), self) for job in jobs]
        if self.cluster == "slurm":
            self._live.update(handle.job_id for handle in handles)
            for handle in handles:
                self.queue.expect(handle.job_id)  # where the queue can't be asked, they are taken to be alive
        return [handle for handle in handles if not handle.has_ended()]

    def submit_small(self, task: Any, dependency: str, timeout_min: int, most_mem_gb: float) -> str:
        """Submit one job that needs little, to begin as SLURM's dependency says; returns its id."""
        given = self.config.hydra.launcher.get("mem_gb")
        mem = {"mem_gb": min(given, most_mem_gb)} if given else {}
        return self.small_job(timeout_min=timeout_min, **mem).submit(task, {"dependency": dependency})

    def small_job(self, **changes: Any) -> SmallJob:
        """Return a job for a task that needs next to nothing. changes: parameters of the launcher."""
        return SmallJob(small_job_parameters(self._launcher().params, changes))  # type: ignore[attr-defined]

    def _launcher(self) -> Launcher:
        # Nothing calls the task function through it.
        return Plugins.instance().instantiate_launcher(
            hydra_context=self.context, task_function=lambda _: None, config=self.config
        )

    def has_ended(self, job: SubmititJob) -> bool:
        """True once the job is gone, however it ended."""
        if self.cluster != "slurm":
            if job.own is not None:
                return bool(job.own.done())  # this process's child: it has to be waited for
            return not is_alive(int(job.job_id), "submitit")
        if job.job_id in self._live and job.job_id not in self.queue.states(self._live):
            self._live.discard(job.job_id)
            self.queue.look_again()  # where one died, others may have
        return job.job_id not in self._live

    def is_waiting(self, job: SubmititJob) -> bool:
        """True while the job waits in the queue, by what it said last."""
        return self.cluster == "slurm" and self.queue.states(self._live).get(job.job_id) == _slurm.PENDING

    def end_hung(self, job: SubmititJob, agents: Sequence[AgentHistory]) -> None:
        """See Dispatch.end_hung. SLURM follows its first signals with SIGKILL, after KillWait."""
        if self.cluster == "slurm":
            self.cancel([job])
            return
        for agent in agents:
            kill(agent.pid, agent.process_start)

    def look_again(self) -> None:
        """See Dispatch.look_again."""
        self.queue.look_again()

    def cancel(self, jobs: Sequence[SubmititJob], *, waiting_only: bool = False) -> None:
        """End jobs. waiting_only: leave those that run."""
        if self.cluster != "slurm":
            for job in () if waiting_only else jobs:
                terminate(int(job.job_id))
            return
        try:
            _slurm.cancel([job.job_id for job in jobs], waiting_only=waiting_only)
        except SlurmCallError as error:
            log.warning("Jobs can't be cancelled: %s", error)
        self.queue.look_again()


@dataclass(frozen=True)
class SubmititJob:
    """See _dispatch.JobHandle. log: its path. own: submitit's job, where this process has submitted it."""

    number: int
    job_id: str
    log: Path
    dispatch: SubmititDispatch
    own: Any = None

    def has_ended(self) -> bool:
        """See JobHandle."""
        return self.dispatch.has_ended(self)

    def is_waiting(self) -> bool:
        """See JobHandle."""
        return self.dispatch.is_waiting(self)

    def record(self) -> JobRecord:
        """Return what another process needs to know to watch it."""
        return JobRecord(self.number, self.job_id, self.dispatch.cluster, socket.gethostname(), str(self.log))

    def describe(self) -> str:
        """See JobHandle."""
        if self.dispatch.cluster == "slurm":
            state = _slurm.final_state(self.job_id)
        else:
            state = self.own.state if self.own is not None else "ENDED"
        try:
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_TAIL_LINES:]
        except OSError:
            lines = []
        tail = "".join(f"\n    {line}" for line in lines)
        return f"job {self.job_id} ({state}), log {self.log}{tail}"


@dataclass(frozen=True)
class SmallJob:
    """A SLURM job as it is to be submitted, picklable and without anything of the user's code.

    parameters: from small_job_parameters.
    """

    parameters: Mapping[str, Any]

    @property
    def log_directory(self) -> str:
        """Where submitit keeps the logs of its jobs; %j stands for the job's id."""
        return str(self.parameters["submitit_folder"])

    def submit(self, task: Any, sbatch: Mapping[str, Any]) -> str:
        """Submit it to run a task, with further options of sbatch; returns its id.

        Errors: whatever submitit raises, with sbatch's own words.
        """
        extra = {**(self.parameters.get("additional_parameters") or {}), **sbatch}
        executor = _executor({**self.parameters, "additional_parameters": extra}, "slurm")
        with _no_leftovers(Path(self.log_directory)), _words_once():
            return str(executor.submit(task).job_id)


def small_job_parameters(launcher: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a launcher's parameters for a job on one CPU without GPUs, on the same partition, account and so on."""
    params = {name: value for name, value in launcher.items() if name not in _OF_LARGE_JOBS}
    extra = params.get("additional_parameters") or {}
    params["additional_parameters"] = {
        name: value for name, value in extra.items() if name.replace("-", "_") not in _OF_LARGE_JOBS
    }
    # Submitted from elsewhere later on, it shall log to the same place.
    params["submitit_folder"] = str(Path(params["submitit_folder"]).expanduser().absolute())
    return {**params, "nodes": 1, "tasks_per_node": 1, "cpus_per_task": 1, **changes}


def _executor(parameters: Mapping[str, Any], cluster: str) -> Any:
    """Build the executor from a launcher's parameters by hydra-submitit-launcher's own rules (its launch())."""
    import submitit
    from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf
    from omegaconf import OmegaConf

    params = dict(parameters)
    folder = params.pop("submitit_folder")
    init = {f"{cluster}_max_num_timeout": params.pop("max_num_timeout")} if "max_num_timeout" in params else {}
    executor = submitit.AutoExecutor(folder=folder, cluster=cluster, **init)
    shared = set(OmegaConf.structured(BaseQueueConf))
    executor.update_parameters(**{k if k in shared else f"{cluster}_{k}": v for k, v in params.items()})
    if cluster == "slurm" and (params.get("tasks_per_node") or 1) * (params.get("nodes") or 1) > 1:
        # The ranks of an agent end together: those that are left of one that died would wait for ever.
        executor.update_parameters(slurm_srun_args=[*(params.get("srun_args") or ()), "--kill-on-bad-exit=1"])
    return executor


def _is_limit(error: Exception) -> bool:
    return any(words in str(error) for words in _LIMIT_WORDS)


@contextlib.contextmanager
def _no_leftovers(folder: Path) -> Iterator[None]:
    """Remove what submitit wrote for jobs that were refused, a pickle each."""
    root = Path(str(folder).partition("%j")[0])
    before = set(root.glob("*")) if root.is_dir() else set()
    try:
        yield
    except BaseException:
        for path in set(root.glob("*")) - before if root.is_dir() else ():
            if path.is_file():
                path.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def _words_once() -> Iterator[None]:
    """Leave it to the error to tell what sbatch says: submitit prints it as well, once per refused attempt."""
    heard, words = io.StringIO(), ""
    try:
        with contextlib.redirect_stderr(heard):
            yield
    except Exception as error:
        words = f"{error}\n"
        raise
    finally:
        # Other threads may have something to say meanwhile.
        sys.stderr.write(heard.getvalue().replace(words, "", 1))
