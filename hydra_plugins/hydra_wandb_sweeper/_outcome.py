"""How an attempt at a trial went, and what of it is recorded."""

from __future__ import annotations

import contextlib
import logging
import math
import re
import reprlib
import sys
import traceback
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import hydra.core.utils
from hydra.core.utils import JobReturn

from wandb_sweep_server.metrics import metrics_in

from . import _run_job
from ._errors import SweepError
from ._wording import one_line

log = logging.getLogger(__name__)

FINISHED = "finished"
FAILED = "failed"
STOPPED = "stopped"
# Interrupted to make room, and to go on elsewhere.
PREEMPTED = "preempted"
# W&B's SDK sends this exit code for a run that ended by KeyboardInterrupt, which is how it stops a run itself.
STOPPED_CODE = 255
PREEMPTED_CODE = 75  # EX_TEMPFAIL
# Of a trial's process that couldn't leave its result.
RESULT_LOST_CODE = 74  # EX_IOERR

# Some errors are written for terminals: PyTorch's are bold in part.
_TERMINAL_STYLE = re.compile(r"\x1b\[[0-9;]*m")

# Whose frames stand before those of a task in a traceback.
_CALLERS = (__file__, _run_job.__file__, hydra.core.utils.__file__)


class TrialPreempted(BaseException):
    """Raised in the task's main thread when its job has to end. No Exception: a task that goes on after errors of its
    own must not go on after this.
    """


class Outcome:
    """How an attempt went, as far as it is known."""

    def __init__(self) -> None:
        self.metrics: dict[str, float] = {}
        self.summary: dict[str, Any] = {}
        self.error: str | None = None
        self.error_line: str | None = None
        self.output_dir: str | None = None
        self.exit_code = 0

    def take(self, job_return: JobReturn, metric_name: str) -> None:
        """Take over what the task returned or raised."""
        try:
            value = job_return.return_value
        except Exception as error:  # noqa: BLE001 (the task's own exception, kept by run_job)
            self.fail(error)
        else:
            self.metrics = as_metrics(value, metric_name)

    def exited(self, exit_: SystemExit) -> None:
        """The task called sys.exit: a failure unless its status says success, or it was told to end.

        Lightning answers a KeyboardInterrupt by sys.exit(1).
        """
        told = exit_.__context__
        if exit_.code in (None, 0):
            return
        if isinstance(told, TrialPreempted):
            self.preempted(told)
        elif isinstance(told, KeyboardInterrupt):
            self.stopped()
        else:
            self.fail(RuntimeError(f"the task called sys.exit({exit_.code!r})"))

    def stopped(self) -> None:
        """The server (through W&B's SDK) or a person told the task to stop."""
        self.error = self.error_line = "KeyboardInterrupt: the run was told to stop"
        self.exit_code = STOPPED_CODE

    def preempted(self, cause: TrialPreempted) -> None:
        """The task was interrupted to make room."""
        self.error = self.error_line = f"interrupted to make room: {cause}"
        self.exit_code = PREEMPTED_CODE

    def fail(self, error: Exception) -> None:
        """The attempt failed; the traceback is printed, so that it is in the run's console log too."""
        frames = _frames_of_the_task(error.__traceback__)
        self.error = "".join(traceback.format_exception(type(error), error, frames))
        # It is shown in terminals, where an exception's text is to do nothing.
        self.error_line = one_line(f"{type(error).__name__}: {_first_words(str(error))}")
        self.exit_code = 1
        with contextlib.suppress(OSError):  # no room for it must not be the end of what is to be recorded
            print(self.error, file=sys.stderr, flush=True)

    def to_dict(self) -> dict[str, Any]:
        """The result as the agent reads it. metrics: every number in the run's summary."""
        return {
            "state": {0: FINISHED, STOPPED_CODE: STOPPED, PREEMPTED_CODE: PREEMPTED}.get(self.exit_code, FAILED),
            "metrics": {**numbers(self.summary), **self.metrics},
            "error": self.error,
            "error_line": self.error_line,
            "output_dir": self.output_dir,
        }


def as_metrics(value: object, metric_name: str) -> dict[str, float]:
    """Return what a task returned as named numbers: a float under the metric's name, a mapping as it is, None as {}.

    NumPy and torch scalars count as floats. What is no number is left out, with a warning: Hydra's own sweeper takes
    no notice of what a task returns, so that it may be anything. Errors: SweepError if a mapping's metric is none.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        number = _as_float(value)
        if number is None:
            log.warning("The task returned %s, which is no number: it isn't recorded.", reprlib.repr(value))
        return {} if number is None else {metric_name: number}
    metrics = {str(name): _as_float(entry) for name, entry in value.items()}
    if metric_name in metrics and metrics[metric_name] is None:
        raise SweepError(
            f"The task returned {value[metric_name]!r} as '{metric_name}'; a task returns a number, a mapping of "
            "names to numbers, or None."
        )
    others = [name for name, number in metrics.items() if number is None]
    if others:
        log.warning("The task returned no numbers as %s: they aren't recorded.", ", ".join(others))
    return {name: number for name, number in metrics.items() if number is not None}


def numbers(summary: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics in a run's summary, as metrics_in names them; infinite ones are numbers, too."""
    return metrics_in(summary, _is_number)


def _as_float(value: object) -> float | None:
    """Return a number as float, None for what is no number."""
    if isinstance(value, str | bytes):
        return None
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError, RuntimeError):  # RuntimeError: torch, of a tensor of many
        return None


def _first_words(message: str) -> str:
    """Return a message's first line, and what it announces: Hydra's errors begin `Error in call to target '…':`."""
    first, *others = _TERMINAL_STYLE.sub("", message).strip().splitlines() or [""]
    return f"{first} {others[0].strip()}" if first.endswith(":") and others else first


def _frames_of_the_task(frames: TracebackType | None) -> TracebackType | None:
    """Leave out how the task was called, as Hydra does in what it prints; what never came to the task stays whole."""
    frame, has_called = frames, False
    while frame is not None and (file := frame.tb_frame.f_code.co_filename) in _CALLERS:
        has_called = has_called or file == hydra.core.utils.__file__  # JobReturn.return_value
        frame = frame.tb_next
    return frame if has_called else frames


def _is_number(value: object) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return not math.isnan(value)
    except OverflowError:  # an integer beyond the largest float
        return False
