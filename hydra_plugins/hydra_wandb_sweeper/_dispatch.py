"""Agents onto a Hydra launcher: submitit's without blocking (_submitit), any other as it is."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from hydra.core.plugins import Plugins
from hydra.types import HydraContext
from hydra.utils import get_class
from omegaconf import DictConfig

from ._errors import SettingError, SweepDirectoryError, SweepFailedError
from ._events import DIRECTORY
from ._history import AgentHistory, JobRecord
from ._job import AgentJob, LauncherTask
from ._onlooker import looking_on
from ._settings import Settings

log = logging.getLogger(__name__)


class JobHandle(Protocol):
    """A submitted job."""

    @property
    def number(self) -> int:
        """The number it was started with."""

    @property
    def job_id(self) -> str:
        """Its id where it was submitted, ID_TASK in an array of SLURM's; empty for a launcher that has none."""

    def has_ended(self) -> bool:
        """True once its process is gone, however it ended."""

    def is_waiting(self) -> bool:
        """True while it waits in a queue."""

    def describe(self) -> str:
        """Its id, state, where its log is, and the log's last lines."""

    def record(self) -> JobRecord | None:
        """What another process needs to know to watch it, None if none could."""


class Dispatch(Protocol):
    """Brings jobs to run."""

    @property
    def blocks(self) -> bool:
        """True if `start` returns when the jobs have ended."""

    def start(self, job: AgentJob, numbers: Sequence[int], avoid: Sequence[str] = ()) -> Sequence[JobHandle]:
        """Start a job per number, or as many of the first ones as are accepted now.

        avoid: nodes on which they shall not run, where that can be said. Errors: SweepFailedError with the launcher's
        own words.
        """

    def adopt(self, jobs: Iterable[JobRecord]) -> Sequence[JobHandle]:
        """Return handles for jobs of another process, as far as they haven't ended."""

    def look_again(self) -> None:
        """A job is about to end: look soon whether it has."""

    def cancel(self, jobs: Sequence[Any], *, waiting_only: bool = False) -> None:
        """End jobs that `start` returned. waiting_only: leave those that run."""

    def end_hung(self, job: Any, agents: Sequence[AgentHistory]) -> None:
        """End a job whose processes may heed nothing any more. agents: those that it hosts."""


@dataclass(frozen=True)
class LauncherTraits:
    """What matters of a launcher.

    kind: basic | joblib | submitit_local | submitit_slurm | other. parallel: jobs it runs at a time, None = ask.
    ranks: processes of a job that run each trial together.
    """

    kind: str
    parallel: int | None
    ranks: int = 1

    @property
    def is_submitit(self) -> bool:
        """True if jobs can be submitted without waiting for them."""
        return self.kind.startswith("submitit_")

    @property
    def server_host(self) -> str:
        """The address on which an embedded server has to listen, for agents to reach it."""
        return "0.0.0.0" if self.kind == "submitit_slurm" else "127.0.0.1"  # noqa: S104 (jobs run elsewhere)


def launcher_traits(config: DictConfig) -> LauncherTraits:
    """Tell the launcher in use from `hydra.launcher._target_`; a subclass is what its base is."""
    launcher = get_class(str(config.hydra.launcher._target_))
    bases = {base.__name__ for base in launcher.__mro__}
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    ranks = int(config.hydra.launcher.get("tasks_per_node") or 1) * int(config.hydra.launcher.get("nodes") or 1)
    if "BasicLauncher" in bases:
        return LauncherTraits("basic", 1)
    if "JoblibLauncher" in bases:
        n_jobs = int(config.hydra.launcher.get("n_jobs") or 1)
        # joblib's rule: -1 is all CPUs, -2 all but one, …
        return LauncherTraits("joblib", n_jobs if n_jobs > 0 else max(1, cpus + 1 + n_jobs))
    if {"BaseSubmititLauncher", "LocalLauncher"} <= bases:
        return LauncherTraits("submitit_local", cpus, ranks)
    if {"BaseSubmititLauncher", "SlurmLauncher"} <= bases:
        return LauncherTraits("submitit_slurm", None, ranks)
    return LauncherTraits("other", 1)


def job_count(settings: Settings, traits: LauncherTraits, expected_trials: int | None) -> int:
    """Return how many jobs to start.

    expected_trials: agents beyond it would find nothing. Errors: SettingError.
    """
    if not settings.wait and not traits.is_submitit:
        raise SettingError(
            "wait",
            False,
            f"the launcher '{traits.kind}' can't run without being waited for; leave it out, or use "
            "hydra/launcher=submitit_slurm or submitit_local",
        )
    if settings.snapshot_code and not traits.is_submitit:
        raise SettingError(
            "snapshot_code",
            True,
            f"the launcher '{traits.kind}' runs the code as it is; leave it out, or use "
            "hydra/launcher=submitit_slurm or submitit_local",
        )
    if traits.ranks > 1 and settings.agents_per_job > 1:
        raise SettingError(
            "agents_per_job",
            settings.agents_per_job,
            f"the {traits.ranks} tasks of a job (hydra.launcher.tasks_per_node, nodes) are one agent "
            "together; leave it out, or set them to 1",
        )
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
        from ._submitit import SubmititDispatch

        return SubmititDispatch(config, context, traits.kind.removeprefix("submitit_"))
    if launches_in_process(config):
        return BlockingDispatch()
    return LauncherDispatch(config, context, overrides)


def launches_in_process(config: DictConfig) -> bool:
    """True if all that the launcher does for an agent is to call it, in this process.

    That is Hydra's own, unless it shall set variables for the agent, with which it also opens runs.
    """
    launcher = get_class(str(config.hydra.launcher._target_))
    return launcher.__name__ == "BasicLauncher" and not config.hydra.job.get("env_set")


class BlockingDispatch:
    """Agents one after another in this very process, as Hydra's BasicLauncher runs tasks.

    Without the launcher, for which a configuration would be composed that no agent reads: that takes 45 ms.
    on_wait: called again and again, about every second, while `start` blocks.
    """

    blocks = True

    def __init__(self) -> None:
        self.on_wait: Callable[[], None] = lambda: None

    def start(self, job: AgentJob, numbers: Sequence[int], avoid: Sequence[str] = ()) -> Sequence[JobHandle]:
        """See Dispatch.start; blocks until the jobs have ended. Errors: SweepDirectoryError, which none survives."""
        try:
            summaries = self._run(job, numbers)
        except SweepDirectoryError:
            raise
        except Exception as error:
            raise SweepFailedError(f"{self._whose()}: {type(error).__name__}: {error}") from error
        if any(agent["was_stopped"] for agent in summaries):
            # An agent in this very process caught the Ctrl-C (or SIGTERM), which was meant for the whole sweep.
            raise KeyboardInterrupt
        return [EndedJob(number) for number in numbers]

    def _run(self, job: AgentJob, numbers: Sequence[int]) -> list[dict[str, Any]]:
        """Run jobs to their end; returns the summaries of their agents."""
        return [summary for number in numbers for summary in job.run(number, on_wait=self.on_wait)]

    def _whose(self) -> str:
        """Whose words an error has."""
        return "The agent failed"

    def adopt(self, jobs: Iterable[JobRecord]) -> Sequence[JobHandle]:
        """See Dispatch.adopt; they have ended with the process that started them."""
        return []

    def look_again(self) -> None:
        """See Dispatch.look_again; nobody waits."""

    def cancel(self, jobs: Sequence[Any], *, waiting_only: bool = False) -> None:
        """They have ended."""

    def end_hung(self, job: Any, agents: Sequence[AgentHistory]) -> None:
        """They have ended."""


class LauncherDispatch(BlockingDispatch):
    """Any launcher: an agent is a task for it, composed like a trial but with a directory of its own."""

    def __init__(self, config: DictConfig, context: HydraContext, overrides: list[str]) -> None:
        super().__init__()
        self._config = config
        # The user's callbacks are for trials; a job that hosts agents is none.
        self._context = HydraContext(config_loader=context.config_loader, callbacks=type(context.callbacks)())
        self._overrides = overrides

    def _run(self, job: AgentJob, numbers: Sequence[int]) -> list[dict[str, Any]]:
        # Where agents live in this very process, they have time for whoever looks on: see _looking_on.
        on_wait = None if _starts_interpreters(self._config) else self.on_wait
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=self._context, task_function=LauncherTask(job, on_wait), config=self._config
        )
        # In another working directory, trials would take a relative hydra.sweep.dir for one below it.
        own = [
            f"hydra.sweep.subdir={DIRECTORY}/jobs/${{hydra.job.num}}",
            "hydra.output_subdir=null",
            "hydra.job.chdir=false",
        ]
        with self._looking_on():
            returns = launcher.launch([self._overrides + own for _ in numbers], initial_job_idx=numbers[0])
        # Reading a return value raises what the job raised.
        return [summary for job_return in returns for summary in job_return.return_value]

    @contextlib.contextmanager
    def _looking_on(self) -> Iterator[None]:
        """While the launcher runs jobs in processes that it starts anew, somebody here has time to look on.

        Nowhere else: agents that live in this process, or are forked from it, have to be alone in it.
        """
        if not _starts_interpreters(self._config):
            yield
            return
        with looking_on(self.on_wait):
            yield

    def _whose(self) -> str:
        return "The launcher reports"


def _starts_interpreters(config: DictConfig) -> bool:
    """True for joblib, unless there is one job at a time: that it runs in this very process."""
    launcher = get_class(str(config.hydra.launcher._target_))
    if "JoblibLauncher" not in {base.__name__ for base in launcher.__mro__}:
        return False
    import joblib

    return bool(joblib.effective_n_jobs(config.hydra.launcher.get("n_jobs") or 1) > 1)


@dataclass(frozen=True)
class EndedJob:
    """A job that was waited for when it was started."""

    number: int
    job_id: str = ""

    def has_ended(self) -> bool:
        """See JobHandle."""
        return True

    def is_waiting(self) -> bool:
        """See JobHandle."""
        return False

    def describe(self) -> str:
        """See JobHandle."""
        return f"job {self.number} of the launcher"

    def record(self) -> None:
        """See JobHandle."""
