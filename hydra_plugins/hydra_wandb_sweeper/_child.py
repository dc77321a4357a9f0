"""A child process of an agent: leads its own process group and dies with its agent.

So everything that it started ends with it, and a trial that another agent takes over can't still be running
somewhere.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable

from ._farewell import Farewell
from ._notice import Notice, preempt_signal
from ._wakeup import Wakeup

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
# Looked for here, and not in each child.
_PRCTL = ctypes.CDLL(None).prctl if sys.platform == "linux" else None
_POLL_S = 0.05
_LONGEST_WAIT_S = 5.0


class ChildProcess:
    """A child that leads its own process group. farewell: by which it says that it has done all; None if it won't.

    It counts as ended once it has said so. Until `wait_until_gone` has returned, it may still hold memory, and what
    it has started may run.
    """

    failure: str | None = None

    def __init__(
        self,
        pid: int,
        wakeup: Wakeup,
        notice: Notice,
        farewell: Farewell | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pid = pid
        self._notice = notice
        self._wakeup = wakeup
        self._farewell = farewell
        self._said: int | None = None
        self._clock = clock
        self._exit_code: int | None = None
        # Linux has a descriptor that becomes readable when the child ends; elsewhere its end is polled for.
        self._descriptor = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else None

    @property
    def exit_code(self) -> int:
        code = self._exit_code if self._said is None else self._said
        assert code is not None, "still running"
        return code

    def wait(self, timeout_s: float) -> bool:
        if not self._is_done():
            said = [] if self._farewell is None or self._farewell.reader < 0 else [self._farewell.reader]
            if self._descriptor is not None:
                self._wakeup.wait_with([self._descriptor, *said], timeout_s)
            else:
                self._wakeup.wait(min(timeout_s, _POLL_S))
        return self._is_done()

    def wait_until_gone(self) -> None:
        """If it has said that it is done, return when the process is no more, nor anything that it started."""
        while self._said is not None and not self._has_ended():
            if self._descriptor is not None:
                self._wakeup.wait_for(self._descriptor, _LONGEST_WAIT_S)
            else:
                time.sleep(_POLL_S)

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

    def _is_done(self) -> bool:
        if self._said is None and self._farewell is not None:
            self._said = self._farewell.heard()
        return self._said is not None or self._has_ended()

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
        if self._farewell is not None:
            self._farewell.close()
        return True

    def _signal_group(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._pid, number)


def die_with(parent_pid: int) -> None:
    """In a child: be killed when its parent is gone, however that ended (Linux)."""
    if _PRCTL is not None:
        _PRCTL(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent_pid:  # it died before the line above
            os._exit(70)


def lead_group_and_die_with(agent_pid: int) -> None:
    with contextlib.suppress(PermissionError):
        os.setpgid(0, 0)
    die_with(agent_pid)


def begin_child(agent_pid: int) -> None:
    """In a forked child, first of all."""
    lead_group_and_die_with(agent_pid)
    _reset_signals()


def _reset_signals() -> None:
    """Forget the agent's signal handlers: submitit's, among others, would requeue the job from within a trial."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        # OSError: numbers that the C library keeps for itself. SIGPIPE is ignored by Python on purpose.
        if number != signal.SIGPIPE:
            with contextlib.suppress(OSError, ValueError):
                signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    ignore_early_warnings()
    signal.set_wakeup_fd(-1)


def ignore_early_warnings() -> None:
    """Until the task begins (see _trial), SLURM's warning must not kill the trial: the agent knows when it is due."""
    for number in {signal.SIGUSR2, preempt_signal()}:
        signal.signal(number, signal.SIG_IGN)
