"""What is said of one run wherever it is shown. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from wandb_sweep_server import run_states

# Where this project's agents say why a trial failed or was stopped.
_ERROR_KEY = "trial_error"


@dataclass(frozen=True)
class Times:
    """When a run was worked on, in seconds since the epoch. ended_at: None while it goes on, or may."""

    began_at: float
    ended_at: float | None
    duration_s: float


class Row(Protocol):
    """A row of the database, or a mapping that has the same."""

    def __getitem__(self, name: str, /) -> Any:
        """The value of a column."""


def state_of(run: Row) -> str:
    """A run's state as people are shown it: one that waits to be tried again is as good as new."""
    is_wanted = run["is_retry"] and run["queued_at"] is not None
    return run_states.PENDING if is_wanted else str(run["state"])


def times_of(run: Row, assignments: Sequence[Row], now_s: float) -> Times:
    """When a run began and ended, and how long somebody had it in all.

    run: a row of the table. assignments: the run's, in their order; a run of no sweep has none.
    """
    goes_on = run["state"] in run_states.LIVE or run["queued_at"] is not None
    if not assignments:
        ended_at = None if goes_on else run["heartbeat_at"]
        return Times(run["created_at"], ended_at, max(0.0, (ended_at or now_s) - run["created_at"]))
    ends = [now_s if one["ended_at"] is None else one["ended_at"] for one in assignments]
    # The wall clock may have been set back meanwhile.
    duration_s = sum(max(0.0, end - one["began_at"]) for end, one in zip(ends, assignments, strict=True))
    return Times(assignments[0]["began_at"], None if goes_on else ends[-1], duration_s)


def reason_of(run: Row, summary: Mapping[str, Any]) -> str | None:
    """Why a run failed or was stopped, in the words of whoever knows best; None if it didn't and wasn't."""
    state = run["state"]
    if state not in (run_states.FAILED, run_states.CRASHED, run_states.KILLED):
        return run["stop_reason"] or None
    said = summary.get(_ERROR_KEY)
    if run["stop_reason"] or (isinstance(said, str) and said):
        return str(run["stop_reason"] or said)
    if state == run_states.FAILED and run["exit_code"] is not None:
        return f"exit code {run['exit_code']}"
    return _REASONS.get(state)


_REASONS = {
    run_states.CRASHED: "its process fell silent, or its agent lost it",
    run_states.KILLED: "it was stopped by hand, or with its sweep",
}
