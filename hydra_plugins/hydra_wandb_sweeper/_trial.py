"""One attempt at a trial, in the process that runs it: compose, run the task as Hydra would, record the result."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from ._client import RunInfo, SweepClient
from ._errors import ServerError, ServerUnreachableError
from ._files import write_whole
from ._ledger import SweepRecord, Trial
from ._notice import Notice, preempt_signal
from ._outcome import Outcome, TrialPreempted
from ._sweep_config import flat_args
from ._wandb_run import open_run, prepare_run, record_and_finish, resolved_config, trial_environment


@dataclass(frozen=True)
class TaskContext:
    """What Hydra hands to a launcher, as far as trials need it; the same for all trials of a sweep.

    opens_run: the task opens its W&B run itself. rank: of this process among those that run each trial together;
    only rank 0 has a W&B run.
    """

    hydra_context: HydraContext
    task_function: TaskFunction
    config: DictConfig
    singleton_state: Mapping[Any, Any]
    opens_run: bool
    rank: int = 0

    def restore(self) -> None:
        """Put Hydra's global state into a process that didn't inherit it."""
        Singleton.set_state(dict(self.singleton_state))
        setup_globals()


def run_trial(
    context: TaskContext, sweep: SweepRecord, trial: Trial, result_path: Path, notice: Notice | None
) -> int:
    """Run one attempt and write its result to `result_path`; returns the exit code for this process.

    notice: by which the agent tells the trial to end; None in the agent's own process. In a process of the trial's
    own, its output goes to trial.log in the trial's directory. The environment must let `sweep.server` be opened.
    """
    tee = _Output(notice is not None)
    outcome = Outcome()
    try:
        config = _compose(context, sweep, trial)
        output_dir = _output_dir(config)
        tee.to(output_dir / (f"trial.rank{context.rank}.log" if context.rank else "trial.log"))
        _enter_run(context, sweep, trial, config, output_dir)
        outcome.output_dir = str(output_dir)
        with _preemptible(notice):
            outcome.take(_run_task(context, config), sweep.metric_name)
    except TrialPreempted as cause:
        outcome.preempted(cause)
    except SystemExit as exit_:
        outcome.exited(exit_)
    except KeyboardInterrupt:
        outcome.stopped()
    except Exception as error:  # noqa: BLE001 (whatever the user's code or its config raises is the trial's failure)
        outcome.fail(error)
    try:
        if not context.rank:
            outcome.summary = record_and_finish(
                outcome.metrics, outcome.error_line, outcome.exit_code, lambda: _find_run(sweep, trial)
            )
    except Exception as error:  # noqa: BLE001 (a run that W&B can't record must not look like a success)
        if outcome.error is None:  # else that came first, and says more
            outcome.fail(error)
    _wait_for_user_threads()
    write_whole(result_path, outcome.to_dict())
    tee.flush()
    return outcome.exit_code


def _compose(context: TaskContext, sweep: SweepRecord, trial: Trial) -> DictConfig:
    overrides = sweep.template.overrides(flat_args(trial.args, {"parameters": sweep.parameters}))
    config = context.hydra_context.config_loader.load_sweep_config(context.config, overrides)
    if OmegaConf.is_list(config.hydra.sweeper.get("trials")):
        with open_dict(config.hydra.sweeper):
            config.hydra.sweeper.trials = None  # else each trial's .hydra/hydra.yaml would list all trials
    with open_dict(config.hydra.job):
        config.hydra.job.id = f"{sweep.sweep.sweep_id}_{trial.number}"
        config.hydra.job.num = trial.number
    return config


def _find_run(sweep: SweepRecord, trial: Trial) -> RunInfo | None:
    """The trial's run at the server, None if it can't be told: then it is opened again, which says why."""
    if trial.attempt:
        return None  # what is there may be of an earlier attempt
    try:
        return SweepClient(sweep.server.open, patience_s=0).get_run(sweep.sweep, trial.run_id)
    except (ServerError, ServerUnreachableError):
        return None


def _output_dir(config: DictConfig) -> Path:
    """The directory that Hydra's run_job will use."""
    # hydra.sweep.subdir may interpolate hydra:…, which reads the global HydraConfig; run_job sets that too.
    from hydra.core.hydra_config import HydraConfig

    HydraConfig.instance().set_config(config)
    path = Path(str(config.hydra.sweep.dir)) / str(config.hydra.sweep.subdir)
    path.mkdir(parents=True, exist_ok=True)
    return path.absolute()


def _enter_run(context: TaskContext, sweep: SweepRecord, trial: Trial, config: DictConfig, output_dir: Path) -> None:
    if context.rank:
        os.environ["WANDB_MODE"] = "disabled"
        return
    env = trial_environment(sweep.server.open_patiently(), sweep, trial, output_dir, os.environ)
    os.environ.update(env)
    prepare_run(env, trial.args, resolved_config(config))
    if not context.opens_run:
        open_run()


def _run_task(context: TaskContext, config: DictConfig) -> JobReturn:
    return run_job(
        task_function=context.task_function,
        config=config,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
        hydra_context=context.hydra_context,
    )


@contextlib.contextmanager
def _preemptible(notice: Notice | None) -> Iterator[None]:
    """While active, the signals that announce the end of a job raise TrialPreempted in the task, once.

    SLURM signals every process of a job, and the agent signals the trial as well: the first may be too early, and
    the second must not strike the `except` or `finally` block that handles the first. The task may set handlers of
    its own over these.
    """
    if notice is None:
        yield
        return
    numbers = {signal.SIGUSR2, signal.SIGTERM, preempt_signal()}
    told: list[str] = []

    def handler(number: int, _frame: FrameType | None) -> None:
        if not told and notice.is_given():
            told.append(signal.Signals(number).name)
            raise TrialPreempted(told[0])

    for number in numbers:
        signal.signal(number, handler)
    try:
        if notice.is_given():  # while the run was being opened
            raise TrialPreempted("before it began")
        yield
    finally:
        # What is left is ours: recording the result, which a late signal must not interrupt. SIGINT is how W&B's SDK
        # stops a run, at about the time at which the agent does.
        for number in numbers | {signal.SIGINT}:
            signal.signal(number, signal.SIG_IGN)


class _Output:
    """Sends the process's standard output and error to a file, below Python too (C libraries, subprocesses)."""

    def __init__(self, redirect: bool) -> None:
        self._redirect = redirect

    def to(self, path: Path) -> None:
        """From now on write to the end of `path`."""
        if not self._redirect:
            return
        self.flush()
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        os.close(descriptor)

    def flush(self) -> None:
        """Write out what Python has buffered."""
        for stream in (sys.stdout, sys.stderr):
            stream.flush()


def _wait_for_user_threads() -> None:
    """Let non-daemon threads of the task end, as they would at the end of an ordinary script."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
