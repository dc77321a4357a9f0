"""How an attempt at a trial went, and what of it is recorded."""

from __future__ import annotations

import math
import sys
import traceback
from collections.abc import Mapping
from typing import Any

from hydra.core.utils import JobReturn

from ._errors import SweepError
from ._wording import one_line

FINISHED = "finished"
FAILED = "failed"
STOPPED = "stopped"
# Interrupted to make room, and to go on elsewhere.
PREEMPTED = "preempted"
# W&B's SDK sends this exit code for a run that ended by KeyboardInterrupt, which is how it stops a run itself.
STOPPED_CODE = 255
PREEMPTED_CODE = 75  # EX_TEMPFAIL


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
        """The task called sys.exit: a failure unless its status says success."""
        if exit_.code not in (None, 0):
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
        self.error = "".join(traceback.format_exception(error))
        first_line = (str(error).strip().splitlines() or [""])[0]
        # It is shown in terminals, where an exception's text is to do nothing.
        self.error_line = one_line(f"{type(error).__name__}: {first_line}")
        self.exit_code = 1
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

    NumPy and torch scalars count as floats. Errors: SweepError for anything else.
    """
    if value is None:
        return {}
    if isinstance(value, Mapping):
        return {str(name): _as_float(number, f"'{name}'") for name, number in value.items()}
    return {metric_name: _as_float(value, "its result")}


def numbers(summary: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics in a run's summary."""
    return {name: value for name, value in summary.items() if _is_number(value) and not name.startswith("_")}


def _as_float(value: object, what: str) -> float:
    try:
        if isinstance(value, str | bytes):
            raise TypeError(value)
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise SweepError(
            f"The task returned {value!r} as {what}; a task returns a number, a mapping of names to numbers, or None."
        ) from None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
