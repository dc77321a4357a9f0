"""Time limits: what may begin before one, how long a trial may go on, whether a job comes back."""

from __future__ import annotations

import pytest

from hydra_plugins.hydra_wandb_sweeper._requeue import Ending, should_requeue
from hydra_plugins.hydra_wandb_sweeper._walltime import UNLIMITED, WallTime, expected_trial_s, grace_s, too_short


def left(seconds: float, warning_s: float = 120.0) -> WallTime:
    return WallTime(deadline_s=seconds, warning_s=warning_s, clock=lambda: 0.0)


@pytest.mark.parametrize(
    ("wall_time", "expected_s", "fits"),
    [
        (UNLIMITED, 1e9, True),
        (left(1000), None, True),
        (left(1000), 880, True),
        (left(1000), 881, False),
        (left(1000, warning_s=0), 1000, True),
        (left(-5), 1, False),
    ],
)
def test_a_trial_begins_only_if_it_ends_before_the_warning(
    wall_time: WallTime, expected_s: float | None, fits: bool
) -> None:
    reason = too_short(wall_time, expected_s)
    assert (reason is None) == fits
    if reason is not None:
        assert "hydra.sweeper.resumable=true" in reason


@pytest.mark.parametrize(
    ("longest_s", "configured_min", "expected_s"),
    [(None, None, None), (9.0, None, 9.0), (3.0, 2.0, 120.0), (None, 0.5, 30.0)],
)
def test_a_trial_takes_as_long_as_configured_or_as_the_longest_so_far(
    longest_s: float | None, configured_min: float | None, expected_s: float | None
) -> None:
    assert expected_trial_s(longest_s, configured_min) == expected_s


@pytest.mark.parametrize(
    ("wall_time", "granted_s"),
    [
        (UNLIMITED, 20.0),  # preempted: SLURM doesn't say how soon it will kill
        (left(100_000), 20.0),
        (left(120), 105.0),
        (left(60), 45.0),
        (left(10), 1.0),
    ],
)
def test_a_trial_is_granted_what_is_left_less_a_margin(wall_time: WallTime, granted_s: float) -> None:
    assert grace_s(wall_time, margin_s=15.0, default_s=20.0) == granted_s


def test_a_warning_may_come_a_minute_before_it_was_asked_for() -> None:
    assert left(179).is_timing_out()
    assert not left(300).is_timing_out()
    assert not UNLIMITED.is_timing_out()


@pytest.mark.parametrize(
    ("timed_out", "preempted", "restarts", "supervised", "max_num_timeout", "requeue", "word"),
    [
        (True, False, 0, True, 0, False, "supervisor"),
        (True, False, 0, True, 3, True, "1 of hydra.launcher.max_num_timeout=3"),
        (True, False, 3, True, 3, False, "supervisor"),
        (True, False, 99, False, 0, True, "nobody supervises"),
        (False, True, 0, True, 0, False, "make room"),
        (False, True, 5, False, 0, True, "make room"),
        (False, False, 0, False, 3, False, "stays ended"),  # scancel: its user wants it gone
    ],
)
def test_whether_a_job_goes_back_into_the_queue(
    timed_out: bool,
    preempted: bool,
    restarts: int,
    supervised: bool,
    max_num_timeout: int,
    requeue: bool,
    word: str,
) -> None:
    decision = should_requeue(Ending(timed_out, preempted, restarts, supervised), max_num_timeout=max_num_timeout)
    assert decision.requeue == requeue
    assert word in decision.reason
