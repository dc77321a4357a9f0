"""How a trial is kept apart from its agent: forked, spawned, or not at all.

A trial's process leads its own process group, so that everything it started ends with it, and dies with its agent,
so that a trial that another agent takes over can't still be running somewhere.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import cloudpickle

from ._ledger import SweepRecord, Trial
from ._notice import Notice, preempt_signal
from ._trial import TaskContext, run_trial
from ._warm_up import warm_up

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_POLL_S = 0.05
_LONGEST_WAIT_S = 5.0


class Wakeup:
    """An event that a signal handler may set and that a wait on file descriptors notices.

    on_wait: called before every wait. Whatever an agent waits for, it waits for here, and not for long at a time.
    """

    def __init__(self, on_wait: Callable[[], None] = lambda: None) -> None:
        self._on_wait = on_wait
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)

    def set(self) -> None:
        """Wake whoever waits, now and from now on."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._write, b"!")

    def wait(self, timeout_s: float) -> bool:
        """Wait until set; False after timeout_s."""
        self._on_wait()
        return bool(select.select([self._read], [], [], timeout_s)[0])

    def sleep(self, seconds: float) -> None:
        """Wait until set, for `seconds` at most."""
        self.wait(seconds)

    def wait_with(self, descriptor: int, timeout_s: float) -> None:
        """Wait until set, until `descriptor` is readable, or for timeout_s."""
        self._on_wait()
        select.select([self._read, descriptor], [], [], timeout_s)

    def wait_for(self, descriptor: int, timeout_s: float) -> None:
        """Wait until `descriptor` is readable, set or not, or for timeout_s."""
        self._on_wait()
        select.select([descriptor], [], [], timeout_s)


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


def make_isolation(kind: str, context: TaskContext, sweep: SweepRecord, wakeup: Wakeup, scratch: Path) -> Isolation:
    """Return the isolation for `hydra.sweeper.isolation` (fork | spawn | none).

    scratch: a directory for what spawned processes need. Where forking isn't safe, fork becomes spawn (see
    fork_hazard).
    """
    if kind == "none":
        return InlineIsolation(context, sweep)
    if kind == "spawn":
        return SpawnIsolation(context, sweep, wakeup, scratch)
    warm_up(context, sweep)
    return ForkIsolation(context, sweep, wakeup)


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
    """A process per trial, forked from the agent: it starts with the user's code imported."""

    def __init__(self, context: TaskContext, sweep: SweepRecord, wakeup: Wakeup) -> None:
        self._context = context
        self._sweep = sweep
        self._wakeup = wakeup

    def start(self, trial: Trial, result_path: Path) -> TrialProcess:
        """See Isolation.start."""
        for stream in (sys.stdout, sys.stderr):
            stream.flush()  # else the child would write what the parent has buffered a second time
        agent_pid = os.getpid()
        notice = Notice()
        pid = os.fork()
        if pid == 0:
            self._in_child(trial, result_path, agent_pid, notice)
        # Also done by the child; whoever is first, the group exists before anyone signals it.
        with contextlib.suppress(PermissionError, ProcessLookupError):
            os.setpgid(pid, pid)
        return _ChildProcess(pid, self._wakeup, notice)

    def _in_child(self, trial: Trial, result_path: Path, agent_pid: int, notice: Notice) -> None:
        code = 70  # EX_SOFTWARE: our own code failed before or after the trial's
        try:
            _lead_group_and_die_with(agent_pid)
            _reset_signals()
            # A background process group that reads the terminal would be stopped by it.
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            notice.read_only()
            code = run_trial(self._context, self._sweep, trial, result_path, notice)
        finally:
            # Not sys.exit: the agent's frames, exit handlers and `finally` blocks aren't the child's to run.
            os._exit(code)


class SpawnIsolation:
    """A new interpreter per trial, for code that can't be forked."""

    def __init__(self, context: TaskContext, sweep: SweepRecord, wakeup: Wakeup, scratch: Path) -> None:
        self._wakeup = wakeup
        self._payload = scratch / "task.pkl"
        # Inside one another: what the task imports from beside its script is found only by this sys.path.
        self._payload.write_bytes(cloudpickle.dumps((list(sys.path), cloudpickle.dumps((context, sweep)))))

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
        return _ChildProcess(process.pid, self._wakeup, notice)


def run_spawned(payload: Path, result_path: Path, notice_descriptor: int) -> int:
    """What a spawned interpreter does; the trial arrives on standard input. Returns its exit code."""
    path, rest = cloudpickle.loads(payload.read_bytes())
    sys.path[:] = path
    context, sweep = cloudpickle.loads(rest)
    trial = cloudpickle.loads(sys.stdin.buffer.read())
    context.restore()
    return run_trial(context, sweep, trial, result_path, Notice(notice_descriptor))


class InlineIsolation:
    """No isolation: the trial runs inside the agent, where a debugger can follow it."""

    def __init__(self, context: TaskContext, sweep: SweepRecord) -> None:
        self._context = context
        self._sweep = sweep

    def start(self, trial: Trial, result_path: Path) -> TrialProcess:
        """Run the attempt to its end."""
        before = dict(os.environ)
        try:
            return _Ended(run_trial(self._context, self._sweep, trial, result_path, None))
        finally:
            if "wandb" in sys.modules:
                # W&B reads its environment once per process; the next trial has another run id.
                sys.modules["wandb"].teardown()
            os.environ.clear()
            os.environ.update(before)


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


class _ChildProcess:
    """A child that leads its own process group."""

    failure: str | None = None

    def __init__(self, pid: int, wakeup: Wakeup, notice: Notice, clock: Callable[[], float] = time.monotonic) -> None:
        self._pid = pid
        self._notice = notice
        self._wakeup = wakeup
        self._clock = clock
        self._exit_code: int | None = None
        # Linux has a descriptor that becomes readable when the child ends; elsewhere its end is polled for.
        self._descriptor = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else None

    @property
    def exit_code(self) -> int:
        assert self._exit_code is not None, "still running"
        return self._exit_code

    def wait(self, timeout_s: float) -> bool:
        if not self._has_ended():
            if self._descriptor is not None:
                self._wakeup.wait_with(self._descriptor, timeout_s)
            else:
                self._wakeup.wait(min(timeout_s, _POLL_S))
        return self._has_ended()

    def terminate(self, grace_s: float) -> None:
        self._notice.give()
        self._signal_group(signal.SIGTERM)
        self._end_within(grace_s)

    def preempt(self, grace_s: float) -> None:
        self._notice.give()
        if not self._has_ended():
            # Not to its group: data loaders and the like know nothing of preemption and would die of the signal.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGUSR2)
        self._end_within(grace_s)

    def _end_within(self, grace_s: float) -> None:
        deadline = self._clock() + grace_s
        while not self._has_ended() and (left_s := deadline - self._clock()) > 0:
            # Not wait(): an agent that is being woken would return from it at once, again and again.
            if self._descriptor is not None:
                self._wakeup.wait_for(self._descriptor, min(left_s, _LONGEST_WAIT_S))
            else:
                time.sleep(_POLL_S)
        if not self._has_ended():
            self._signal_group(signal.SIGKILL)
            while not self._has_ended():
                time.sleep(_POLL_S)

    def _has_ended(self) -> bool:
        if self._exit_code is not None:
            return True
        if os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return False
        # Before the pid is given back to the system: what the trial left running in its group ends with it.
        self._signal_group(signal.SIGKILL)
        _, status = os.waitpid(self._pid, 0)
        self._exit_code = os.waitstatus_to_exitcode(status)
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        self._notice.close()
        return True

    def _signal_group(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._pid, number)


def die_with(parent_pid: int) -> None:
    """In a child: be killed when its parent is gone, however that ended (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent_pid:  # it died before the line above
            os._exit(70)


def _lead_group_and_die_with(agent_pid: int) -> None:
    with contextlib.suppress(PermissionError):
        os.setpgid(0, 0)
    die_with(agent_pid)


def _prepare_spawned(agent_pid: int) -> None:
    _lead_group_and_die_with(agent_pid)
    _ignore_early_warnings()  # outlives the exec


def _reset_signals() -> None:
    """Forget the agent's signal handlers: submitit's, among others, would requeue the job from within a trial."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        # OSError: numbers that the C library keeps for itself. SIGPIPE is ignored by Python on purpose.
        if number != signal.SIGPIPE:
            with contextlib.suppress(OSError, ValueError):
                signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _ignore_early_warnings()
    signal.set_wakeup_fd(-1)


def _ignore_early_warnings() -> None:
    """Until the task begins (see _trial), SLURM's warning must not kill the trial: the agent knows when it is due."""
    for number in {signal.SIGUSR2, preempt_signal()}:
        signal.signal(number, signal.SIG_IGN)
