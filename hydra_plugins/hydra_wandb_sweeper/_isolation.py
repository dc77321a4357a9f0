"""How a trial is kept apart from its agent: forked, spawned, or not at all.

A trial's process leads its own process group, so that everything it started ends with it, and dies with its agent,
so that a trial that another agent takes over can't still be running somewhere.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import cloudpickle

from ._child import ChildProcess, begin_child, ignore_early_warnings, lead_group_and_die_with
from ._farewell import Farewell
from ._ledger import SweepRecord, Trial
from ._notice import Notice
from ._onlooker import looking_on, may_look_on_beside_tasks
from ._pickling import dumps
from ._sdk_modules import place_of_modules
from ._server import ServerRef
from ._trial import TaskContext, records_directly, run_trial
from ._wakeup import Wakeup
from ._wandb_run import server_environment
from ._warm_up import gather_for_later, gather_if_needed, prepare_for_later, prepare_trial, warm_up

if TYPE_CHECKING:
    from ._wandb_service import SharedService


class TrialProcess(Protocol):
    """A running attempt."""

    def wait(self, timeout_s: float) -> bool:
        """Wait for its end, a wake-up of the agent, or timeout_s; True if it has ended."""

    def terminate(self, grace_s: float) -> None:
        """End it with all it started: SIGTERM, and SIGKILL after grace_s. Returns when it has ended."""

    def preempt(self, grace_s: float) -> None:
        """Have it make room: SIGUSR2 to the task alone, and the end of all it started after grace_s."""

    @property
    def exit_code(self) -> int:
        """Its exit code, or minus the signal that killed it."""

    @property
    def failure(self) -> str | None:
        """Why the attempt has failed whatever its process left, None if that counts."""


class Isolation(Protocol):
    """Starts attempts."""

    def start(self, trial: Trial, result_path: Path) -> TrialProcess:
        """Start an attempt; its result will be at result_path."""

    def wait_until_clear(self) -> None:
        """Return when nothing is left of the last attempt, if that has ended: no process, and none of its memory."""

    def close(self) -> None:
        """No more attempts will be started."""


def make_isolation(kind: str, context: TaskContext, sweep: SweepRecord, wakeup: Wakeup, scratch: Path) -> Isolation:
    """Return the isolation for `hydra.sweeper.isolation` (fork | spawn | none).

    scratch: a directory for what spawned processes need. Where forking isn't safe, fork becomes spawn (see
    fork_hazard).
    """
    if kind == "none":
        return InlineIsolation(context, sweep, wakeup.on_wait if wakeup.has_onlooker else None)
    if kind == "spawn":
        gather_if_needed(context, sweep)
        gather_for_later(context, sweep)
        return SpawnIsolation(context, sweep, wakeup, scratch)
    service = _start_service(context, sweep)
    warm_up(context, sweep)
    return ForkIsolation(
        context,
        sweep,
        wakeup,
        service,
        prepare=lambda trial: prepare_trial(context, sweep, trial),
        meanwhile=lambda: prepare_for_later(context, sweep),
    )


def _start_service(context: TaskContext, sweep: SweepRecord) -> SharedService | None:
    # Only rank 0 has W&B runs.
    if context.rank or records_directly(context, sweep):
        return None

    from ._wandb_service import may_share_service

    if not may_share_service(context.config.hydra.job.env_set):
        return None
    # Before the fork, so that half a second is spent once.
    import wandb  # noqa: F401

    service = context.service or new_service(sweep.server)
    service.start()
    service.warm_up()  # while it starts
    return service


def new_service(server: ServerRef) -> SharedService:
    """Return a service for this process's trials, which isn't started yet. server: of their sweep."""
    from ._wandb_service import SharedService

    agent_pid = os.getpid()

    def prepare() -> None:
        begin_child(agent_pid)
        os.environ.update(server_environment(server.open(), server))

    return SharedService(prepare, place_of_modules())


def fork_hazard() -> str | None:
    """Return why this process must not fork trials, None if it may."""
    if sys.platform == "darwin":
        return "system libraries of macOS don't survive a fork"
    others = [t.name for t in threading.enumerate() if t is not threading.main_thread()]
    if others:
        return f"importing your code started threads ({', '.join(others)})"
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return "importing your code initialised CUDA"
    return None


class ForkIsolation:
    """A process per trial, forked from the agent: it starts with the user's code imported.

    service: for all the trials' W&B runs; None has each trial start its own. prepare: called before an attempt is
    forked, which inherits what it did. meanwhile: called when one has been forked: what later ones inherit, and the
    first one needn't wait for.
    """

    def __init__(
        self,
        context: TaskContext,
        sweep: SweepRecord,
        wakeup: Wakeup,
        service: SharedService | None = None,
        *,
        prepare: Callable[[Trial], None] = lambda _: None,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> None:
        self._context = context
        self._sweep = sweep
        self._wakeup = wakeup
        self._service = service
        self._prepare = prepare
        self._meanwhile = meanwhile
        self._last: tuple[ChildProcess, Path] | None = None

    def start(self, trial: Trial, result_path: Path) -> TrialProcess:
        """See Isolation.start."""
        environment = self._service_environment()
        self._prepare(trial)
        self.wait_until_clear()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()  # else the child would write what the parent has buffered a second time
        agent_pid = os.getpid()
        notice, farewell = Notice(), Farewell()
        pid = os.fork()
        if pid == 0:
            self._in_child(trial, result_path, agent_pid, notice, farewell, environment)
        farewell.listen()
        # Also done by the child; whoever is first, the group exists before anyone signals it.
        with contextlib.suppress(PermissionError, ProcessLookupError):
            os.setpgid(pid, pid)
        process = ChildProcess(pid, self._wakeup, notice, farewell)
        self._last = process, result_path
        self._meanwhile()
        return process

    def wait_until_clear(self) -> None:
        """See Isolation.wait_until_clear."""
        if self._last is not None:
            self._last[0].wait_until_gone()

    def close(self) -> None:
        """See Isolation.close."""
        self.wait_until_clear()
        if self._service is not None:
            self._service.stop()

    def _service_environment(self) -> Mapping[str, str]:
        if self._service is None:
            return {}
        if self._last is not None and not _ended_well(*self._last):
            # Its run may be open still in the service, where it would stand in the way of the trial's next attempt.
            self._service.stop()
        environment = self._service.environment()
        self._service.warm_up()
        return environment

    def _in_child(
        self,
        trial: Trial,
        result_path: Path,
        agent_pid: int,
        notice: Notice,
        farewell: Farewell,
        environment: Mapping[str, str],
    ) -> None:
        code = 70  # EX_SOFTWARE: our own code failed before or after the trial's
        try:
            begin_child(agent_pid)
            # A background process group that reads the terminal would be stopped by it.
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            notice.read_only()
            os.environ.update(environment)
            code = run_trial(self._context, self._sweep, trial, result_path, notice)
            farewell.say(code)
        finally:
            # Not sys.exit: the agent's frames, exit handlers and `finally` blocks aren't the child's to run.
            os._exit(code)


def _ended_well(process: ChildProcess, result_path: Path) -> bool:
    return process.exit_code == 0 and result_path.exists()


class SpawnIsolation:
    """A new interpreter per trial, for code that can't be forked."""

    def __init__(self, context: TaskContext, sweep: SweepRecord, wakeup: Wakeup, scratch: Path) -> None:
        self._wakeup = wakeup
        self._payload = scratch / "task.pkl"
        # Inside one another: what the task imports from beside its script is found only by this sys.path.
        self._payload.write_bytes(dumps((list(sys.path), dumps((context, sweep)))))

    def start(self, trial: Trial, result_path: Path) -> TrialProcess:
        """See Isolation.start."""
        agent_pid = os.getpid()
        notice = Notice()
        arguments = [str(self._payload), str(result_path), str(notice.reader)]
        process = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}._spawned", *arguments],
            stdin=subprocess.PIPE,
            pass_fds=[notice.reader],
            preexec_fn=lambda: _prepare_spawned(agent_pid),
        )
        assert process.stdin is not None
        with process.stdin:
            process.stdin.write(cloudpickle.dumps(trial))
        return ChildProcess(process.pid, self._wakeup, notice)

    def wait_until_clear(self) -> None:
        """See Isolation.wait_until_clear."""

    def close(self) -> None:
        """See Isolation.close."""


def run_spawned(payload: Path, result_path: Path, notice_descriptor: int) -> int:
    """What a spawned interpreter does; the trial arrives on standard input. Returns its exit code."""
    path, rest = cloudpickle.loads(payload.read_bytes())
    sys.path[:] = path
    context, sweep = cloudpickle.loads(rest)
    trial = cloudpickle.loads(sys.stdin.buffer.read())
    context.restore()
    return run_trial(context, sweep, trial, result_path, Notice(notice_descriptor))


class InlineIsolation:
    """No isolation: the trial runs inside the agent, where a debugger can follow it.

    look: called about every second meanwhile, from another thread, where one may be; None = nobody looks on.
    """

    def __init__(self, context: TaskContext, sweep: SweepRecord, look: Callable[[], None] | None = None) -> None:
        self._context = context
        self._sweep = sweep
        self._look = look

    def start(self, trial: Trial, result_path: Path) -> TrialProcess:
        """Run the attempt to its end."""
        before = dict(os.environ)
        try:
            with self._looking_on():
                return _Ended(run_trial(self._context, self._sweep, trial, result_path, None))
        finally:
            if "wandb" in sys.modules:
                # W&B reads its environment once per process; the next trial has another run id.
                sys.modules["wandb"].teardown()
            os.environ.clear()
            os.environ.update(before)

    def _looking_on(self) -> contextlib.AbstractContextManager[None]:
        if self._look is None or not may_look_on_beside_tasks():
            return contextlib.nullcontext()
        return looking_on(self._look)

    def wait_until_clear(self) -> None:
        """See Isolation.wait_until_clear."""

    def close(self) -> None:
        """See Isolation.close."""


class _Ended:
    failure: str | None = None

    def __init__(self, exit_code: int) -> None:
        self.exit_code = exit_code

    def wait(self, timeout_s: float) -> bool:
        return True

    def terminate(self, grace_s: float) -> None:
        """It has ended."""

    def preempt(self, grace_s: float) -> None:
        """It has ended."""


def _prepare_spawned(agent_pid: int) -> None:
    lead_group_and_die_with(agent_pid)
    ignore_early_warnings()  # outlives the exec
