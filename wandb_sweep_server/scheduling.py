"""What a sweep does next: answers to heartbeats and changes of its state. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from .errors import ClientError

PENDING = "PENDING"
RUNNING = "RUNNING"
PAUSED = "PAUSED"
FINISHED = "FINISHED"
CANCELED = "CANCELED"
STOPPED = "STOPPED"

STATES = (PENDING, RUNNING, PAUSED, FINISHED, CANCELED, STOPPED)
OPEN = (PENDING, RUNNING, PAUSED)


class Action(Enum):
    """What the server answers, apart from `stop` commands."""

    WAIT = "nothing to do now"
    EXIT = "no more work will come"
    RESUME = "take a queued run: the oldest of those that were preempted, else the oldest"
    RUN = "take a new trial from the search"


@dataclass(frozen=True)
class Situation:
    """What the answer to a heartbeat depends on.

    Attributes:
        sweep_state: One of STATES.
        agent_is_busy: The agent lists a live run, or was just given one that had no time to start.
        has_queued: Some run of the sweep waits to be offered (again).
        is_exhausted: The search has no further trial, or the cap on runs is reached.
        has_live: Some run of the sweep, of whatever agent, is pending or running.
    """

    sweep_state: str
    agent_is_busy: bool
    has_queued: bool
    is_exhausted: bool
    has_live: bool


def decide(situation: Situation) -> Action:
    """What to answer an agent's heartbeat.

    `exit` is held back while the agent has a live run, because the W&B agents kill theirs on `exit`;
    and while any run lives, because a lost one comes back and needs an agent.
    """
    if situation.agent_is_busy:
        return Action.WAIT
    if situation.sweep_state == PAUSED:
        return Action.WAIT
    if situation.sweep_state not in OPEN:
        return Action.EXIT
    if situation.has_queued:
        return Action.RESUME
    if not situation.is_exhausted:
        return Action.RUN
    return Action.WAIT if situation.has_live else Action.EXIT


def is_complete(situation: Situation) -> bool:
    """Whether the sweep has ended by itself."""
    return (
        situation.sweep_state in (PENDING, RUNNING)
        and situation.is_exhausted
        and not situation.has_queued
        and not situation.has_live
    )


def requested_state(current: str, wanted: str) -> str:
    """The state of a sweep after a user asked for `wanted`.

    Raises:
        ClientError: `wanted` is no state, or the sweep cannot go there from `current`.
    """
    wanted = wanted.upper()
    if wanted not in STATES:
        raise ClientError(f"sweep state {wanted!r} does not exist; states are {', '.join(STATES)}")
    if wanted == PENDING and current != PENDING:
        raise ClientError(f"a sweep that is {current} cannot become PENDING again; resume it instead")
    if wanted == PAUSED and current not in OPEN:
        raise ClientError(f"a sweep that is {current} cannot be paused; resume it first")
    return wanted
