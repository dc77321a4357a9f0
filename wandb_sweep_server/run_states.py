"""What becomes of a run: one table from state and event to the next state. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

PENDING = "pending"
RUNNING = "running"
PREEMPTING = "preempting"
PREEMPTED = "preempted"
FINISHED = "finished"
FAILED = "failed"
CRASHED = "crashed"
KILLED = "killed"

LIVE = (PENDING, RUNNING, PREEMPTING)
ENDED = (PREEMPTED, FINISHED, FAILED, CRASHED, KILLED)
STATES = LIVE + ENDED


class Event(Enum):
    """What can happen to a run."""

    START = "a process announced the run"
    PREEMPTING = "the process expects to be preempted"
    EXIT_ZERO = "the process reported exit code 0"
    EXIT_NONZERO = "the process reported another exit code"
    LOST = "the process is silent, or its agent no longer lists it"
    LISTED = "its agent calls it alive"


@dataclass(frozen=True)
class Outcome:
    """The next state, and whether the run is to be offered to an agent again."""

    state: str
    requeue: bool = False


_TABLE: dict[tuple[str, Event], Outcome] = {
    **{(state, Event.START): Outcome(RUNNING) for state in (PENDING, RUNNING, *ENDED)},
    # The SDK announces a run several times in its life; that does not take back the preemption.
    (PREEMPTING, Event.START): Outcome(PREEMPTING),
    (RUNNING, Event.PREEMPTING): Outcome(PREEMPTING),
    **{(state, Event.EXIT_ZERO): Outcome(FINISHED) for state in LIVE},
    **{(state, Event.EXIT_NONZERO): Outcome(FAILED) for state in (PENDING, RUNNING)},
    (PREEMPTING, Event.EXIT_NONZERO): Outcome(PREEMPTED, requeue=True),
    # Nobody has seen it start: to its user it is still to come.
    (PENDING, Event.LOST): Outcome(PENDING, requeue=True),
    (RUNNING, Event.LOST): Outcome(CRASHED, requeue=True),
    (PREEMPTING, Event.LOST): Outcome(PREEMPTED, requeue=True),
    # Only the agent's word revives a run thought dead: data and exit codes may come late, from an
    # uploader that outlived the process it reports on.
    (CRASHED, Event.LISTED): Outcome(RUNNING),
}

_ENDING = (Event.EXIT_ZERO, Event.EXIT_NONZERO, Event.LOST)


def next_state(state: str, event: Event, *, stop_requested: bool, may_requeue: bool = True) -> Outcome:
    """The outcome of an event.

    Args:
        state: One of STATES.
        event: What happened.
        stop_requested: Someone asked the run to stop; this outranks every exit code, since an
            uploader may report code 0 for a process that was killed.
        may_requeue: The run was not lost too often already. Preemptions are not limited by it.
    """
    outcome = _TABLE.get((state, event), Outcome(state))
    if stop_requested and state in LIVE and event in _ENDING:
        return Outcome(KILLED)
    if outcome.requeue and not may_requeue and outcome.state != PREEMPTED:
        return Outcome(CRASHED)
    return outcome
