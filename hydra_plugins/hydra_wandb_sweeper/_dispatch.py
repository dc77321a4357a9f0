"""Agents onto a Hydra launcher: submitit's without blocking, any other as it is."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext
from omegaconf import DictConfig

from ._errors import SettingError, SweepFailedError
from ._job import AgentJob, LauncherTask, SubmititTask
from ._ledger import DIRECTORY
from ._settings import Settings

log = logging.getLogger(__name__)


class JobHandle(Protocol):
    """A submitted job."""

    @property
    def number(self) -> int:
        """The number it was started with."""

    def has_ended(self) -> bool:
        """True once its process is gone, however it ended."""

    def describe(self) -> str:
        """Its id, state and where its log is."""

    def cancel(self) -> None:
        """End it."""


class Dispatch(Protocol):
    """Brings jobs to run."""

    @property
    def blocks(self) -> bool:
        """True if `start` returns when the jobs have ended."""

    def start(self, job: AgentJob, numbers: Sequence[int]) -> list[JobHandle]:
        """Start a job per number. A blocking launcher returns when they have ended, with no handles.

        Errors: SweepFailedError with the launcher's own words.
        """


@dataclass(frozen=True)
class LauncherTraits:
    """What matters of a launcher.

    kind: basic | joblib | submitit_local | submitit_slurm | other. parallel: jobs it runs at a time, None = ask.
    """

    kind: str
    parallel: int | None

    @property
    def is_submitit(self) -> bool:
        """True if jobs can be submitted without waiting for them."""
        return self.kind.startswith("submitit_")


def launcher_traits(config: DictConfig) -> LauncherTraits:
    """Tell the launcher in use from `hydra.launcher._target_`."""
    target = str(config.hydra.launcher.get("_target_", ""))
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if target.endswith("basic_launcher.BasicLauncher"):
        return LauncherTraits("basic", 1)
    if target.endswith("joblib_launcher.JoblibLauncher"):
        n_jobs = int(config.hydra.launcher.get("n_jobs") or 1)
        # joblib's rule: -1 is all CPUs, -2 all but one, …
        return LauncherTraits("joblib", n_jobs if n_jobs > 0 else max(1, cpus + 1 + n_jobs))
    if target.endswith("submitit_launcher.LocalLauncher"):
        return LauncherTraits("submitit_local", cpus)
    if target.endswith("submitit_launcher.SlurmLauncher"):
        return LauncherTraits("submitit_slurm", None)
    return LauncherTraits("other", 1)


def job_count(settings: Settings, traits: LauncherTraits, expected_trials: int | None) -> int:
    """Return how many jobs to start.

    expected_trials: agents beyond it would find nothing. Errors: SettingError.
    """
    if not settings.wait and not traits.is_submitit:
        raise SettingError("wait", False, f"the launcher '{traits.kind}' can't run without being waited for")
    agents = settings.agents
    if agents is None:
        if traits.parallel is None:
            raise SettingError("agents", None, "say how many agents (jobs) the cluster shall run at a time")
        agents = traits.parallel * settings.agents_per_job
    if expected_trials is not None:
        agents = min(agents, expected_trials)
    jobs = max(1, -(-agents // settings.agents_per_job))
    if traits.parallel is not None and settings.agents is not None and jobs > traits.parallel:
        if traits.kind in ("basic", "other"):
            log.warning(
                "hydra.sweeper.agents=%d, but the launcher '%s' runs jobs one after another: only the first will "
                "find work. Use hydra/launcher=joblib, submitit_local or submitit_slurm, or agents_per_job.",
                settings.agents,
                traits.kind,
            )
            return 1
        log.info("%d jobs, %d at a time (launcher '%s').", jobs, traits.parallel, traits.kind)
    return jobs


def make_dispatch(
    config: DictConfig, context: HydraContext, traits: LauncherTraits, overrides: list[str]
) -> Dispatch:
    """Return the dispatch for a launcher. overrides: of some trial; jobs of other launchers compose with them."""
    if traits.is_submitit:
        return SubmititDispatch(config, context, traits.kind.removeprefix("submitit_"))
    return LauncherDispatch(config, context, overrides)


class LauncherDispatch:
    """Any launcher: an agent is a task for it, composed like a trial but with a directory of its own."""

    blocks = True

    def __init__(self, config: DictConfig, context: HydraContext, overrides: list[str]) -> None:
        self._config = config
        # The user's callbacks are for trials; a job that hosts agents is none.
        self._context = HydraContext(config_loader=context.config_loader, callbacks=type(context.callbacks)())
        self._overrides = overrides

    def start(self, job: AgentJob, numbers: Sequence[int]) -> list[JobHandle]:
        """See Dispatch.start; blocks until the jobs have ended."""
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=self._context, task_function=LauncherTask(job), config=self._config
        )
        own = [f"hydra.sweep.subdir={DIRECTORY}/jobs/${{hydra.job.num}}", "hydra.output_subdir=null"]
        try:
            returns = launcher.launch([self._overrides + own for _ in numbers], initial_job_idx=numbers[0])
            for job_return in returns:
                _ = job_return.return_value  # raises what the job raised
        except Exception as error:
            raise SweepFailedError(f"The launcher reports: {type(error).__name__}: {error}") from error
        return []


class SubmititDispatch:
    """submitit's executors, set up as hydra-submitit-launcher does, but not waited for."""

    blocks = False

    def __init__(self, config: DictConfig, context: HydraContext, cluster: str) -> None:
        self._config = config
        self._context = context
        self._cluster = cluster

    def start(self, job: AgentJob, numbers: Sequence[int]) -> list[JobHandle]:
        """See Dispatch.start."""
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=self._context, task_function=job.context.task_function, config=self._config
        )
        try:
            executor = _executor(launcher, self._cluster)
            jobs = executor.map_array(SubmititTask(job), list(numbers))
        except Exception as error:
            raise SweepFailedError(f"The jobs can't be submitted: {error}") from error
        return [SubmititJob(number, handle) for number, handle in zip(numbers, jobs, strict=True)]


def _executor(launcher: Launcher, cluster: str) -> Any:
    """Build the executor from the launcher's parameters by hydra-submitit-launcher's own rules (its launch())."""
    import submitit
    from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf
    from omegaconf import OmegaConf

    params: dict[str, Any] = dict(launcher.params)  # type: ignore[attr-defined]
    folder = params.pop("submitit_folder")
    init = {f"{cluster}_max_num_timeout": params.pop("max_num_timeout")} if "max_num_timeout" in params else {}
    executor = submitit.AutoExecutor(folder=folder, cluster=cluster, **init)
    shared = set(OmegaConf.structured(BaseQueueConf))
    executor.update_parameters(**{k if k in shared else f"{cluster}_{k}": v for k, v in params.items()})
    return executor


@dataclass(frozen=True)
class SubmititJob:
    """See JobHandle."""

    number: int
    handle: Any

    def has_ended(self) -> bool:
        """See JobHandle."""
        return bool(self.handle.done())

    def describe(self) -> str:
        """See JobHandle."""
        return f"job {self.handle.job_id} ({self.handle.state}), log {self.handle.paths.stderr}"

    def cancel(self) -> None:
        """See JobHandle."""
        self.handle.cancel(check=False)
