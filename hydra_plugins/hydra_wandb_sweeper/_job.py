"""A job of the launcher: the process that hosts one or several agents. Picklable, and without any credential."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import cloudpickle
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import configure_log
from omegaconf import DictConfig

from . import _slurm
from ._agent import Agent
from ._child import die_with
from ._client import SweepClient
from ._disk import while_it_runs
from ._errors import SweepDirectoryError
from ._events import DIRECTORY, EventReader
from ._history import History
from ._isolation import fork_hazard, make_isolation
from ._ledger import Ledger
from ._notice import preempt_signal
from ._pickling import dumps
from ._settle import AgentSettings
from ._signs import SignOfLife, Signs
from ._slurm import SlurmCallError
from ._takeover import take_over
from ._trial import TaskContext
from ._wakeup import Wakeup
from ._walltime import UNLIMITED, WallTime
from ._watch import Watch

# What few sweeps need is imported where it is needed: this is imported before every sweep's first trial.
if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from ._ranks import Ranks
    from ._shares import Share

log = logging.getLogger(__name__)

# How often whoever looks on is called.
_TICK_S = 1.0


@dataclass(frozen=True, eq=False, repr=False)
class AgentJob:
    """What a job does. directory: the sweep directory, absolute.

    timeout_s: time limit of the job, None if it has none. warning_s: how long before it SLURM sends its signal.
    max_num_timeout: how often a job that ran into it may be put back into the queue (hydra.launcher's). silence_s:
    for how long an agent may give no sign of life, None = for ever.
    sys_path: for the job's interpreter.
    """

    context: TaskContext
    directory: Path
    settings: AgentSettings
    isolation: str
    agents_per_job: int
    server_patience_s: float
    timeout_s: float | None = None
    warning_s: float = 0.0
    max_num_timeout: int = 0
    silence_s: float | None = None
    sys_path: tuple[str, ...] = ()

    def run(
        self,
        number: int,
        wall_time: WallTime = UNLIMITED,
        rank: int = 0,
        ranks: int = 1,
        on_wait: Callable[[], None] | None = None,
    ) -> list[dict[str, Any]]:
        """Host the agents of job `number`, side by side if there are several; returns an AgentSummary each.

        rank, ranks: of this process among those of the job, which are one agent together. on_wait: called about every
        second while this process waits for a trial or for agents. Errors: SweepDirectoryError.
        """
        with while_it_runs(self.directory):
            return self._host(number, wall_time, rank, ranks, on_wait)

    def _host(
        self, number: int, wall_time: WallTime, rank: int, ranks: int, on_wait: Callable[[], None] | None
    ) -> list[dict[str, Any]]:
        names = agent_names(number, self.agents_per_job, _slurm.restart_count())
        if rank == 0:
            self._take_over_from_before(number)
        if ranks > 1:
            from ._ranks import Ranks

            meeting = Ranks(rank, ranks, self.directory / DIRECTORY / "ranks" / names[0])
            return [self._run_agent(names[0], number, wall_time, meeting)] if rank == 0 else self._follow(meeting)
        if len(names) == 1:
            return [self._run_agent(names[0], number, wall_time, on_wait=on_wait)]
        return self._run_side_by_side(names, number, wall_time, on_wait)

    def _take_over_from_before(self, number: int) -> None:
        """In a requeued job: offer what its agents before the requeue had no time to hand over."""
        if not _slurm.restart_count():
            return
        ledger, history = Ledger(self.directory, f"job-{number}r{_slurm.restart_count()}"), History()
        history.add(EventReader(self.directory).new_events())
        for agent in history.agents_of_job(number):
            take_over(ledger, history, agent.name, self.settings.max_retries)

    def _follow(self, ranks: Ranks) -> list[dict[str, Any]]:
        from ._ranks import follow

        ledger = Ledger(self.directory, f"{ranks.directory.name}.{ranks.rank}")
        context, scratch = (
            replace(self.context, rank=ranks.rank),
            ledger.job_path(f"{ranks.directory.name}.{ranks.rank}"),
        )
        isolation = make_isolation(self._safe_isolation(), context, ledger.sweep(), Wakeup(), scratch=scratch)
        # When the job has to end is for rank 0 to say.
        with _on_stop_signals(lambda _: None):
            try:
                follow(isolation, ranks)
            finally:
                isolation.close()
        return []

    def _run_agent(
        self,
        name: str,
        number: int,
        wall_time: WallTime,
        ranks: Ranks | None = None,
        on_wait: Callable[[], None] | None = None,
    ) -> dict[str, Any]:
        ledger = Ledger(self.directory, name)
        sweep = ledger.sweep()
        # An agent that runs trials inside itself is silent meanwhile.
        sign = SignOfLife(ledger.root, name).give if self.isolation != "none" else lambda: None
        wakeup = Wakeup(sign) if on_wait is None else Wakeup(_both(sign, on_wait), _TICK_S)
        if sweep.server.is_embedded:
            # wandb 0.19 and 0.22 look at it when they are imported, which for forked trials is here.
            os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        isolation = make_isolation(self._safe_isolation(), self.context, sweep, wakeup, scratch=ledger.job_path(name))
        if ranks is not None:
            from ._ranks import LeadingIsolation

            isolation = LeadingIsolation(isolation, ranks)
        agent: Agent
        client = SweepClient(
            sweep.server.open,
            patience_s=self.server_patience_s,
            sleep=wakeup.sleep,
            is_given_up=lambda: agent.stop_reason is not None,
        )
        agent = Agent(
            name,
            sweep,
            self.settings,
            client=client,
            ledger=ledger,
            isolation=isolation,
            wakeup=wakeup,
            wall_time=wall_time,
            job_number=number,
        )
        sign()  # an agent that hangs before it has waited for anything is noticed by this one's age
        try:
            with _on_stop_signals(agent.on_signal):
                return asdict(agent.run())
        finally:
            isolation.close()

    def _safe_isolation(self) -> str:
        hazard = fork_hazard() if self.isolation == "fork" else None
        if hazard is None:
            return self.isolation
        log.warning("Trials get a new interpreter each instead of being forked: %s.", hazard)
        return "spawn"

    def _run_side_by_side(
        self, names: Sequence[str], number: int, wall_time: WallTime, on_wait: Callable[[], None] | None
    ) -> list[dict[str, Any]]:
        """Run each agent in a process of its own, so that one that dies leaves the others alone."""
        import multiprocessing

        from ._shares import share_of, usable_cpus
        from ._side_by_side import SideBySide

        fork = multiprocessing.get_context("fork")
        # One each: a pipe takes 64 KiB until somebody reads it, and nobody does before all have ended.
        pipes: list[Connection] = []
        cpus = usable_cpus()
        shares = [share_of(index, len(names), os.environ, cpus) for index in range(len(names))]

        def start(index: int, name: str) -> Any:
            receiver, sender = fork.Pipe(duplex=False)
            arguments = (os.getpid(), name, shares[index], number, wall_time, sender)
            process = fork.Process(target=self._report, args=arguments, name=name)
            process.start()
            sender.close()
            pipes.append(receiver)
            return process

        signs = Signs(self.directory / DIRECTORY, self.silence_s)
        group = SideBySide(names, start, lambda name: self._take_over_from(name, number), signs, on_wait, _TICK_S)
        with _on_stop_signals(group.signal):
            group.run()
        return [summary for pipe in pipes if (summary := _received(pipe)) is not None]

    def _take_over_from(self, name: str, number: int) -> None:
        """One of this job's agents has died: offer its trial, as the job itself gives no sign of that."""
        ledger, history = Ledger(self.directory, f"job-{number}-{os.getpid()}"), History()
        history.add(EventReader(self.directory).new_events())
        take_over(ledger, history, name, self.settings.max_retries)

    def _report(
        self, job_pid: int, name: str, share: Share, number: int, wall_time: WallTime, sender: Connection
    ) -> None:
        # Else an agent would outlive its job, and run trials that others have taken over.
        die_with(job_pid)
        if share.text:
            log.info("Agent %s: %s", name, share.text)
        share.take()
        try:
            with while_it_runs(self.directory):
                summary = self._run_agent(name, number, wall_time)
        except SweepDirectoryError as error:
            log.error("%s", error)
            raise SystemExit(1) from None
        sender.send(summary)


def _received(pipe: Connection) -> dict[str, Any] | None:
    """What an agent that has ended sent, None if it died before."""
    with pipe:
        try:
            summary: dict[str, Any] = pipe.recv()
        except EOFError:
            return None
        return summary


@dataclass(frozen=True, eq=False, repr=False)
class LauncherTask:
    """A job as the task function of any Hydra launcher; hydra.job.num is the job's number.

    on_wait: see AgentJob.run; called in the main thread of the process that made this, and nowhere else.
    """

    job: AgentJob
    on_wait: Callable[[], None] | None = None
    pid: int = field(default_factory=os.getpid)

    def __call__(self, config: DictConfig) -> list[dict[str, Any]]:
        """Host this job's agents."""
        is_here = os.getpid() == self.pid and threading.current_thread() is threading.main_thread()
        return self.job.run(HydraConfig.get().job.num, on_wait=self.on_wait if is_here else None)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "on_wait": None}


@dataclass(frozen=True, eq=False, repr=False)
class SubmititTask:
    """A job as submitit runs it.

    payload: an AgentJob, pickled. It is unpickled only after sys_path was restored: the modules that the user's task
    imports from beside its script can't be found otherwise.
    """

    payload: bytes
    sys_path: tuple[str, ...]

    @classmethod
    def pack(cls, job: AgentJob) -> SubmititTask:
        """Return the task that hosts a job's agents."""
        return cls(dumps(job), job.sys_path)

    def __call__(self, number: int) -> list[dict[str, Any]]:
        """Host the agents of job `number`; if the job has to end with work left, see to it that it comes back."""
        import submitit

        sys.path[:] = [*self.sys_path, *(entry for entry in sys.path if entry not in self.sys_path)]
        job: AgentJob = cloudpickle.loads(self.payload)
        job.context.restore()
        configure_log(job.context.config.hydra.hydra_logging, job.context.config.hydra.verbose)
        wall_time = _wall_time(job)
        process = submitit.JobEnvironment()
        summaries = job.run(number, wall_time, process.global_rank, process.num_tasks)
        out_of_time = any(summary["is_out_of_time"] for summary in summaries)
        if out_of_time or any(summary["was_stopped"] for summary in summaries):
            _come_back(job, timed_out=out_of_time or wall_time.is_timing_out())
        return summaries


def _wall_time(job: AgentJob) -> WallTime:
    """Return the limit of the job that this process is in: by SLURM's word, else as it was asked for."""
    own = _slurm.own_job_name()
    left_s = _slurm.time_left_s(own) if own else None
    left_s = job.timeout_s if left_s is None else left_s
    return UNLIMITED if left_s is None else WallTime(time.monotonic() + left_s, job.warning_s)


def _come_back(job: AgentJob, *, timed_out: bool) -> None:
    """Put this process's job back into the queue if it is to go on there. timed_out: its time limit is the reason."""
    own = _slurm.own_job_name()
    if not own:
        return
    from ._requeue import Ending, should_requeue

    decision = should_requeue(
        Ending(
            timed_out=timed_out,
            preempted=not timed_out and _slurm.is_being_preempted(own),
            restarts=_slurm.restart_count(),
            supervised=Watch(Ledger(job.directory, "").root).holder() is not None,
        ),
        max_num_timeout=job.max_num_timeout,
    )
    log.info("Job %s: %s", own, decision.reason)
    if decision.requeue:
        try:
            _slurm.requeue(own)
        except SlurmCallError as error:
            log.error("Job %s can't be put back into the queue: %s", own, error)


def agent_names(job_number: int, agents_per_job: int, restarts: int = 0) -> list[str]:
    """Return the names of a job's agents, unique in the sweep. restarts: how often the job was requeued."""
    name = f"agent-{job_number}" + (f"r{restarts}" if restarts else "")
    return [name] if agents_per_job == 1 else [f"{name}-{i}" for i in range(agents_per_job)]


def _both(first: Callable[[], None], second: Callable[[], None]) -> Callable[[], None]:
    def call() -> None:
        first()
        second()

    return call


@contextlib.contextmanager
def _on_stop_signals(handle: Callable[[str], None]) -> Iterator[None]:
    """While active, the signals that end a job call `handle` with their name instead of doing anything else.

    SIGTERM, the end of the terminal, and submitit's own (USR2 unless SUBMITIT_PREEMPT_SIGNAL says otherwise): its
    handler would requeue the job from wherever the agent happens to be. Ctrl-C belongs to the supervisor where that
    is in this very process, and to nobody where it is ignored.
    """
    # Signal handlers can only be set in the main thread; elsewhere whoever owns that decides.
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handler(number: int, _frame: FrameType | None) -> None:
        handle(signal.Signals(number).name)

    numbers = {signal.SIGTERM, preempt_signal()}
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        numbers.add(signal.SIGINT)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.add(signal.SIGHUP)
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
