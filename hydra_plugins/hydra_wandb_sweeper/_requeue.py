"""Whether a job that has to end goes back into the queue. Pure; every decision carries its reason."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Ending:
    """How a job came to its end with work left.

    timed_out: it ran into its time limit. preempted: SLURM needs its place for another job. restarts: how often it
    was requeued before. supervised: a supervisor watches the sweep and replaces jobs.
    """

    timed_out: bool
    preempted: bool
    restarts: int
    supervised: bool


@dataclass(frozen=True)
class Decision:
    """requeue: put the job back. reason: why, as a sentence for the job's log."""

    requeue: bool
    reason: str


def should_requeue(ending: Ending, *, max_num_timeout: int) -> Decision:
    """Decide. max_num_timeout: hydra.launcher's, how often a job may come back after its time limit."""
    if ending.preempted and ending.supervised:
        # SLURM lets a requeued job wait for two minutes; a new one may start at once.
        return Decision(False, "it has to make room for another job; the supervisor submits a new one.")
    if ending.preempted:
        return Decision(True, "it has to make room for another job, and goes back into the queue.")
    if not ending.timed_out:
        return Decision(False, "it was told to end, and stays ended.")
    if ending.restarts < max_num_timeout:
        return Decision(
            True,
            f"its time limit is near, and it goes back into the queue ({ending.restarts + 1} of "
            f"hydra.launcher.max_num_timeout={max_num_timeout}).",
        )
    if ending.supervised:
        return Decision(False, "its time limit is near; the supervisor submits another job for what is left.")
    return Decision(True, "its time limit is near, nobody supervises the sweep, and it goes back into the queue.")
