"""Who had a run when: written with every hand-out, end and loss of a run that belongs to a sweep."""

from __future__ import annotations

from . import run_states
from .clock import Clock
from .database import Database
from .records import Run
from .run_states import Event

HANDED_OVER = "handed over"
LOST = "lost"


def is_held(run: Run) -> bool:
    """Whether somebody has the run: it was handed out, or a process announced it, and it has not ended since."""
    return run.state in run_states.LIVE and run.queued_at is None


def how_it_ended(state: str, event: Event) -> str:
    """How somebody's time with a run ended: `state` is what the event made of the run."""
    if state == run_states.PREEMPTED:
        return HANDED_OVER
    if event is Event.LOST and state in (run_states.PENDING, run_states.CRASHED):
        return LOST
    return state


# The last time that somebody had a run, if it went well and its agent neither has ended nor begun anything since. One
# that failed is begun anew.
_OF_WHO_HAS_IT_STILL = f"""
SELECT id FROM assignments AS last WHERE run_id = ? AND agent_id = ? AND how = '{run_states.FINISHED}'
  AND id = (SELECT MAX(id) FROM assignments WHERE run_id = last.run_id)
  AND id = (SELECT MAX(id) FROM assignments WHERE agent_id = last.agent_id)
  AND EXISTS (SELECT 1 FROM agents WHERE agents.id = last.agent_id AND agents.ended_at IS NULL)
"""  # noqa: S608


class Assignments:
    """The assignments table. A run has at most one that has not ended."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._db = database
        self._clock = clock

    def begin(self, run_id: int, sweep_id: int, agent_id: int | None) -> None:
        """Somebody has the run from now on."""
        # OR IGNORE: what is only shown to people must never keep a run from going on.
        self._db.execute(
            "INSERT OR IGNORE INTO assignments (run_id, sweep_id, agent_id, began_at) VALUES (?, ?, ?, ?)",
            (run_id, sweep_id, agent_id, self._clock.wall_s()),
        )

    def end(self, run_id: int, how: str) -> None:
        """Nobody has the run any more."""
        self._db.execute(
            "UPDATE assignments SET ended_at = ?, how = ? WHERE run_id = ? AND ended_at IS NULL",
            (self._clock.wall_s(), how, run_id),
        )

    def hand_over(self, run: Run, agent_id: int) -> None:
        """Another agent has the run, which went on without the server being asked.

        Whoever makes room says so; of an agent that hasn't, nothing is known but that it has lost the run.
        """
        if is_held(run) and run.sweep_id is not None:
            self.end(run.id, HANDED_OVER if run.state == run_states.PREEMPTING else LOST)
            self.begin(run.id, run.sweep_id, agent_id)

    def follow(self, before: Run, after: Run, event: Event) -> None:
        """Take note of what an event made of a run."""
        if after.sweep_id is None or is_held(before) == is_held(after):
            return
        if is_held(after):
            # A task that ends its run and says one thing more is at work all the time.
            if not self._go_on(after):
                self.begin(after.id, after.sweep_id, after.agent_id)
        else:
            self.end(after.id, how_it_ended(after.state, event))

    def _go_on(self, run: Run) -> bool:
        if run.agent_id is None:
            return False
        last = self._db.value(_OF_WHO_HAS_IT_STILL, (run.id, run.agent_id))
        if last is None:
            return False
        self._db.execute("UPDATE assignments SET ended_at = NULL, how = NULL WHERE id = ?", (last,))
        return True
