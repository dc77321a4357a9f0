"""One attempt at a trial, in the process that runs it: compose, run the task as Hydra would, record the result."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, cast

from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from ._client import RunInfo
from ._composing import Composer
from ._direct_run import DirectRun, Order, needs_sdk
from ._disk import words
from ._errors import ServerError, ServerUnreachableError
from ._files import write_whole
from ._git_facts import GitFacts, ask, ask_git
from ._job_config import JobConfig
from ._ledger import SweepRecord, Trial
from ._named_values import text_at
from ._notice import Notice, preempt_signal
from ._outcome import RESULT_LOST_CODE, Outcome, TrialPreempted
from ._output_place import TRIAL_LOG, note_place
from ._run_client import RunClient
from ._run_facts import RunFacts, gather_facts, list_packages
from ._run_files import REQUIREMENTS
from ._run_job import run_job
from ._sweep_config import flat_args
from ._wandb_run import prepare_run, record_and_finish, resolved_config, trial_environment

if TYPE_CHECKING:
    from ._sdk_run import SdkRun
    from ._wandb_service import SharedService

_PIECE_BYTES = 1 << 20


@dataclass(frozen=True, eq=False, repr=False)
class TaskContext:
    """What Hydra hands to a launcher, as far as trials need it; the same for all trials of a sweep.

    opens_run: the task opens its W&B run itself. rank: of this process among those that run each trial together;
    only rank 0 has a W&B run. sdk_after_s: as in config.WandbSweeperConf. server_patience_s: for how long a trial
    asks a server that can't be reached. service: W&B's for an agent in this very process, if it was started early.
    """

    hydra_context: HydraContext
    task_function: TaskFunction
    config: DictConfig
    singleton_state: Mapping[Any, Any]
    opens_run: bool
    rank: int = 0
    sdk_after_s: float = 5.0
    server_patience_s: float = 300.0
    service: SharedService | None = None

    @cached_property
    def composer(self) -> Composer:
        """Composes the trials' configs; what it knows is inherited by forked processes."""
        return Composer(self.hydra_context.config_loader, self.config)

    @cached_property
    def facts(self) -> RunFacts:
        """What trials record of this agent's program and machine; once known, spawned processes are told it."""
        return gather_facts(self.git)

    @cached_property
    def git(self) -> GitFacts | None:
        """What git says of the working directory; forked and spawned processes are told it as `facts`."""
        return ask_git(ask, Path.cwd())

    @cached_property
    def packages(self) -> str:
        """The packages that trials can import; forked and spawned processes are told it as `facts`."""
        return list_packages()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("composer", "service")}

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
    run: DirectRun | SdkRun | None = None
    try:
        job = _compose(context, sweep, trial, is_last=notice is not None)
        job_dir = _job_dir(job)
        output_dir = Path(job_dir).absolute()
        output_dir.mkdir(parents=True, exist_ok=True)
        tee.to(output_dir / (f"trial.rank{context.rank}.log" if context.rank else TRIAL_LOG))
        if not context.rank:
            note_place(result_path, output_dir)
        run = _enter_run(context, sweep, trial, job.config, output_dir, tee)
        if run is not None:
            run.begin()
        outcome.output_dir = str(output_dir)
        with _preemptible(notice):
            outcome.take(_run_task(context, job, job_dir, run), sweep.metric_name)
    except TrialPreempted as cause:
        outcome.preempted(cause)
    except SystemExit as exit_:
        outcome.exited(exit_)
    except KeyboardInterrupt:
        outcome.stopped()
    except Exception as error:  # noqa: BLE001 (whatever the user's code or its config raises is the trial's failure)
        outcome.fail(error)
    try:
        end = outcome.metrics, outcome.error_line, outcome.exit_code
        if run is not None:
            outcome.summary = run.finish(*end)
        elif not context.rank:  # its configuration is no good
            find_run = partial(_find_run, RunClient(sweep.sweep, sweep.server.open, patience_s=0), trial)
            outcome.summary = record_and_finish(*end, find_run, is_first=not trial.attempt)
    except Exception as error:  # noqa: BLE001 (a run that W&B can't record must not look like a success)
        if outcome.error is None:  # else that came first, and says more
            outcome.fail(error)
    _wait_for_user_threads()
    try:
        write_whole(result_path, outcome.to_dict())
    except OSError as error:
        outcome.exit_code = RESULT_LOST_CODE
        with contextlib.suppress(OSError):  # the same disk
            print(f"The trial's result can't be written: {words(error)}", file=sys.stderr)
    tee.flush()
    return outcome.exit_code


def overrides_of(sweep: SweepRecord, args: Mapping[str, Any]) -> list[str]:
    """Return the Hydra overrides of a trial. args: as claimed. Errors: as of Template.overrides."""
    return sweep.template.overrides(flat_args(args, {"parameters": sweep.parameters}))


def _compose(context: TaskContext, sweep: SweepRecord, trial: Trial, *, is_last: bool) -> JobConfig:
    """is_last: of this process."""
    composer, overrides = context.composer, overrides_of(sweep, trial.args)
    job = composer.compose_last(overrides) if is_last else JobConfig(composer.compose(overrides))

    def note(part: Any) -> None:
        part.id = f"{sweep.sweep.sweep_id}_{trial.number}"
        part.num = trial.number

    job.change_hydra("job", note)
    return job


def _find_run(client: RunClient, trial: Trial) -> RunInfo | None:
    """The trial's run at the server, None if it can't be told: then it is opened again, which says why."""
    try:
        return client.find(trial.run_id)
    except (ServerError, ServerUnreachableError):
        return None


def _job_dir(job: JobConfig) -> str:
    """The job's directory, as Hydra's run_job makes it out."""
    # hydra.sweep.subdir may interpolate hydra:…, which reads the global HydraConfig; run_job sets that too. Its
    # set_config() would copy the whole config to hide all but `hydra`, which nobody looks at before run_job.
    HydraConfig.instance().cfg = cast(HydraConf, job.config)
    times = job.held.times if job.held is not None else {}
    return os.path.join(*(text_at(job.config, "hydra.sweep", key, times) for key in ("dir", "subdir")))


def records_directly(context: TaskContext, sweep: SweepRecord) -> bool:
    """True if trials begin without W&B's SDK. Ask in the environment that the user gave."""
    return sweep.server.is_embedded and not context.opens_run and context.sdk_after_s > 0 and not _needs_sdk()


@lru_cache(maxsize=1)
def _needs_sdk() -> bool:
    """Asked for in the agent, and so known in the trials that it forks."""
    return needs_sdk(os.environ, Path.cwd()) is not None


def _enter_run(
    context: TaskContext, sweep: SweepRecord, trial: Trial, config: DictConfig, output_dir: Path, tee: _Output
) -> DirectRun | SdkRun | None:
    """Make any W&B run of this process the trial's, and return it; None if others have it.

    tee: has what is printed from now on.
    """
    if context.rank:
        os.environ["WANDB_MODE"] = "disabled"
        return None
    is_direct, has_own_settings = records_directly(context, sweep), _needs_sdk()
    env = trial_environment(sweep.server.open_patiently(), sweep, trial, output_dir, os.environ)
    os.environ.update(env)
    client = RunClient(sweep.sweep, sweep.server.open, patience_s=context.server_patience_s)
    find_run = partial(_find_run, client, trial)
    if is_direct:
        order = Order(trial, env, resolved_config(config), output_dir, context.sdk_after_s)
        return DirectRun(order, client, context.facts, lambda: context.packages, find_run)
    from ._sdk_run import SdkRun  # imported by the agent for all that it forks (_warm_up)

    settings: dict[str, Any] = {}
    if context.git is not None and not has_own_settings:  # else what the user has set of git stays so
        os.environ.update(context.git.sdk_environment())
        settings = context.git.sdk_settings()
    own_files: dict[str, str] = {}
    if sweep.server.is_embedded:
        # All trials of an agent have the same packages. The SDK reads what each of them says of itself for every run,
        # which takes as long as all the rest of opening it.
        own_files[REQUIREMENTS] = context.packages
        settings["x_save_requirements"] = False
        # Whose login it is, which wandb.init() prints: there is none but the server's key.
        settings["x_disable_viewer"] = True
    prepare_run(env, trial.args, resolved_config(config), settings)
    return SdkRun(trial, client, own_files, opens_run=context.opens_run, find_run=find_run, printed=tee.printed)


def _run_task(context: TaskContext, job: JobConfig, job_dir: str, run: DirectRun | SdkRun | None) -> JobReturn:
    hydra_context = context.hydra_context
    if run is not None:
        # The server hears of the run while Hydra makes the job; the task itself begins when both are done.
        callbacks = BeforeTask(hydra_context.callbacks, run.wait_until_ready)
        hydra_context = replace(hydra_context, callbacks=cast(Any, callbacks))
    return run_job(context.task_function, job, job_dir, hydra_context)


class BeforeTask:
    """Hydra's callbacks, and one more thing that is done when all else has been, right before the task."""

    def __init__(self, callbacks: Any, last: Callable[[], None]) -> None:
        self._callbacks = callbacks
        self._last = last

    def __getattr__(self, name: str) -> Any:
        return getattr(self._callbacks, name)

    def on_job_start(self, **arguments: Any) -> None:
        """Called by run_job; its errors are run_job's."""
        self._callbacks.on_job_start(**arguments)
        self._last()


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
        self._path: Path | None = None
        self._start = 0

    def to(self, path: Path) -> None:
        """From now on write to the end of `path`."""
        if not self._redirect:
            return
        self.flush()
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        self._path, self._start = path, os.fstat(descriptor).st_size  # what earlier attempts have printed
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        os.close(descriptor)
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                # To a file Python writes in blocks: a process that is killed would take its last words with it.
                stream.reconfigure(line_buffering=True)

    def printed(self) -> Iterator[str]:
        """Return what was printed up to now, in pieces; nothing if it went elsewhere."""
        self.flush()
        if self._path is None:
            return iter(())
        return _pieces(self._path, self._start, self._path.stat().st_size)

    def flush(self) -> None:
        """Write out what Python has buffered, as far as there is room for it."""
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()


def _pieces(path: Path, start: int, end: int) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    with path.open("rb") as file:
        file.seek(start)
        while start < end and (data := file.read(min(_PIECE_BYTES, end - start))):
            start += len(data)
            yield decoder.decode(data)
    yield decoder.decode(b"", final=True)


def _wait_for_user_threads() -> None:
    """Let non-daemon threads of the task end, as they would at the end of an ordinary script."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
