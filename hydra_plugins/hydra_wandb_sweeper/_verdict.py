"""Whether a sweep as a whole went as it should. Pure."""

from __future__ import annotations

import math

from ._control import Orders
from ._history import History
from ._outcome import FAILED, FINISHED
from ._trial_table import QUEUED, RUNNING


def why_failed(
    history: History,
    orders: Orders,
    expected: int | None,
    max_failure_rate: float,
    *,
    left_behind: int = 0,
    last_trouble: str | None = None,
) -> str | None:
    """Return why the sweep failed, None if it didn't.

    expected: how many trials there should be, None if only the server knows. left_behind: trials that nobody began.
    last_trouble: with agents, as far as there was any.
    """
    if orders.cancelled:
        return "it was cancelled"
    if history.stop_reason:
        return history.stop_reason
    counts = history.counts()
    why = f": {last_trouble}" if last_trouble else ""
    left = counts[RUNNING] + counts[QUEUED] or left_behind
    total = sum(counts.values())
    if orders.draining and (left or total < (expected or math.inf)):
        of = f" of {expected}" if expected is not None else ""
        return f"it was told to begin no more trials, {total - left}{of} have ended"
    if left:
        return f"{left} trial(s) could not be run to their end{why}"
    if total and counts[FAILED] > max_failure_rate * total:
        return f"{counts[FAILED]} of {total} trials failed (hydra.sweeper.max_failure_rate={max_failure_rate})"
    if not counts[FINISHED] and expected:
        return f"no trial finished{why}"
    return None
