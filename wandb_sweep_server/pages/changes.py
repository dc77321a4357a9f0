"""What has changed of the sweeps that somebody looks at; noted in the store's thread while it is written."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from wandb_sweep_server.database import Database
from wandb_sweep_server.recent import Recent

# Sweeps of which changes are noted. Who looks at one that was forgotten reads all of it again.
MOST_SWEEPS = 64
_COUNTED = 2**31

_RUN_COLUMNS = (
    "sweep_id agent_id state queued_at stop_reason exit_code args display_name host config summary".split()  # noqa: SIM905
)
_SWEEP_COLUMNS = ("config_digest", "method", "state", "display_name", "description")


class OutdatedError(Exception):
    """Whoever knows this revision of a sweep has to read all of it again."""


@dataclass
class _Noted:
    """Of one sweep: at which revision a row changed last, by its number."""

    revision: int
    runs: dict[int, int] = field(default_factory=dict)
    agents: dict[int, int] = field(default_factory=dict)
    own: int = 0  # the sweep itself
    first: int = field(init=False)

    def __post_init__(self) -> None:
        self.first = self.revision


@dataclass(frozen=True)
class Changed:
    """Row numbers of what has changed up to a revision, some of which may be gone."""

    revision: int
    run_ids: frozenset[int]
    agent_ids: frozenset[int]
    is_sweep: bool

    @property
    def is_anything(self) -> bool:
        """Whether there is something to tell."""
        return self.is_sweep or bool(self.run_ids or self.agent_ids)


class Changes:
    """Revisions of sweeps: numbers that grow with each change, and begin anew whenever notes were lost.

    Reading takes nothing away: the store may do a piece of work more than once. A change whose transaction is undone
    stays noted, and is read as no change.

    Args:
        database: Tells of the changes.
        wake: Called with a sweep's row number for each change of it, in the thread that writes.
    """

    def __init__(self, database: Database, wake: Callable[[int], None]) -> None:
        self._wake = wake
        self._sweeps: Recent[int, _Noted] = Recent(MOST_SWEEPS)
        database.call_on_change("runs", _RUN_COLUMNS, self._note_run)
        database.call_on_change("agents", ("ended_at",), self._note_agent)
        # What an agent has done is part of what is shown of it.
        database.call_on_change("assignments", ("ended_at",), self._note_agent, told=("sweep_id", "agent_id"))
        database.call_on_change("assignments", ("ended_at",), self._note_run, told=("sweep_id", "run_id"))
        database.call_on_change("sweeps", _SWEEP_COLUMNS, self._note_sweep, told=("id", "id"))

    def revision(self, sweep_id: int) -> int:
        """The present revision of a sweep; its changes are noted from now on."""
        noted = self._sweeps.get(sweep_id)
        if noted is None:
            # Another server's revisions, and those before these notes, lie elsewhere. A browser's numbers are exact
            # up to 2^53.
            noted = _Noted(secrets.randbits(21) * _COUNTED)
            self._sweeps.put(sweep_id, noted)
        return noted.revision

    def since(self, sweep_id: int, revision: int | None) -> Changed:
        """What has changed after a revision.

        Raises:
            OutdatedError: That can't be told.
        """
        noted = self._sweeps.get(sweep_id)
        if noted is None or revision is None or not noted.first <= revision <= noted.revision:
            raise OutdatedError(f"revision {revision} was not counted here")
        return Changed(
            noted.revision,
            frozenset(row for row, at in noted.runs.items() if at > revision),
            frozenset(row for row, at in noted.agents.items() if at > revision),
            noted.own > revision,
        )

    def _note_run(self, sweep_id: int | None, run_id: int) -> None:
        noted = self._count(sweep_id)
        if noted is not None:
            noted.runs[run_id] = noted.revision

    def _note_agent(self, sweep_id: int | None, agent_id: int | None) -> None:
        noted = self._count(sweep_id)
        if noted is not None and agent_id is not None:
            noted.agents[agent_id] = noted.revision

    def _note_sweep(self, sweep_id: int | None, _: int) -> None:
        noted = self._count(sweep_id)
        if noted is not None:
            noted.own = noted.revision

    def _count(self, sweep_id: int | None) -> _Noted | None:
        noted = None if sweep_id is None else self._sweeps.peek(sweep_id)
        if sweep_id is not None and noted is not None:
            noted.revision += 1
            self._wake(sweep_id)
        return noted
