"""The time limit of the job that hosts an agent, and what may still begin before it. Pure, but for the clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class WallTime:
    """deadline_s: when the job ends on `clock`'s scale, None without a limit.

    warning_s: how long before that the job is told to end (submitit's signal_delay_s).
    """

    deadline_s: float | None = None
    warning_s: float = 0.0
    clock: Callable[[], float] = time.monotonic

    def left_s(self) -> float | None:
        """Seconds until the job is killed, None without a limit."""
        return None if self.deadline_s is None else self.deadline_s - self.clock()

    def is_timing_out(self) -> bool:
        """True if the job is so near its limit that a signal to end means the limit."""
        left = self.left_s()
        # SLURM sends the warning up to a minute early: its clock for limits has that resolution.
        return left is not None and left <= self.warning_s + _EARLY_S

    def until_warning_s(self) -> float | None:
        """Seconds until the job's work has to be handed over, None without a limit; negative if that is due."""
        left = self.left_s()
        return None if left is None else left - self.warning_s


_EARLY_S = 70.0
UNLIMITED = WallTime()


def too_short(wall_time: WallTime, expected_s: float | None) -> str | None:
    """Return why another trial shouldn't begin in this job, None if it may.

    expected_s: how long a trial takes, None if nobody knows yet.
    """
    left = wall_time.left_s()
    if left is None or expected_s is None or left - wall_time.warning_s >= expected_s:
        return None
    return (
        f"{left / 60:.1f} min are left in its job, and a trial takes {expected_s / 60:.1f} min "
        f"(hydra.sweeper.resumable=true would begin one anyway)"
    )


def expected_trial_s(longest_s: float | None, configured_min: float | None) -> float | None:
    """Return how long the next trial may take: as configured, else as long as the longest so far."""
    return longest_s if configured_min is None else configured_min * 60


def grace_s(wall_time: WallTime, *, margin_s: float, default_s: float) -> float:
    """Return how long a trial may go on after it was told that its job ends.

    margin_s: kept back for what the agent still has to do. default_s: where the job has to make room before its time
    limit; SLURM doesn't say how soon it will be killed then.
    """
    left = wall_time.left_s()
    if left is None or not wall_time.is_timing_out():
        return default_s
    return max(1.0, left - margin_s)
