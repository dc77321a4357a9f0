"""What the runs of sweeps tell a Bayesian search, kept in memory and caught up with the database when asked for."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field
from typing import Any

from . import jsontext, run_states
from .database import Database
from .recent import Recent
from .records import Sweep
from .search.bayes import BayesSearch, Seen

_CHUNK = 500

# Sweeps whose runs are in memory. What is forgotten is read again when it is asked for.
MOST_SWEEPS = 64


@dataclass
class _Known:
    """A sweep's runs by row number. config_digest: of the configuration that they were read by."""

    config_digest: str
    seen: dict[int, Seen] = field(default_factory=dict)
    changed: set[int] = field(default_factory=set)


class Observations:
    """The runs of those sweeps that were asked about.

    Every run is read once, and again after it changed: the database tells of each change, whoever makes it, so that
    asking costs what is new and not what there is. What was read in a transaction that was undone is forgotten.
    """

    def __init__(self, database: Database) -> None:
        self._db = database
        self._known: Recent[int, _Known] = Recent(MOST_SWEEPS)
        self._undone = database.undone_transactions
        database.call_on_change("runs", ("sweep_id", "args", "state", "queued_at", "summary"), self._note)

    def _note(self, sweep_id: int | None, run_id: int) -> None:
        known = self._known.peek(sweep_id) if sweep_id is not None else None
        if known is not None:
            known.changed.add(run_id)

    def of_sweep(self, sweep: Sweep, search: BayesSearch) -> tuple[Seen, ...]:
        """The sweep's runs in the order of their creation; without those that are outside of the search's space."""
        if self._undone != self._db.undone_transactions:
            self._undone = self._db.undone_transactions
            self._known.clear()
        known = self._known.get(sweep.id)
        if known is None or known.config_digest != sweep.config_digest:
            known = _Known(sweep.config_digest)
            self._known.put(sweep.id, known)
            rows = self._db.rows(f"{_SELECT} WHERE sweep_id = ?", (sweep.id,))
        else:
            rows = self._rows(sorted(known.changed))
            for run_id in known.changed:
                known.seen.pop(run_id, None)  # it may be gone, or moved
        known.changed.clear()
        for row in rows:
            seen = _seen(row, search)
            if seen is not None:
                known.seen[row["id"]] = seen
        return tuple(known.seen[run_id] for run_id in sorted(known.seen))

    def sweep_ids(self) -> list[int]:
        """Row numbers of the sweeps whose runs are in memory."""
        return self._known.keys()

    def forget(self, sweep_id: int) -> None:
        """Give back the memory of a sweep's runs."""
        self._known.drop(sweep_id)

    def _rows(self, ids: list[int]) -> list[sqlite3.Row]:
        rows = []
        for start in range(0, len(ids), _CHUNK):
            chunk = ids[start : start + _CHUNK]
            rows += self._db.rows(f"{_SELECT} WHERE id IN ({', '.join('?' * len(chunk))})", chunk)
        return rows


_SELECT = "SELECT id, args, state, queued_at, summary FROM runs"


def _seen(row: sqlite3.Row, search: BayesSearch) -> Seen | None:
    args: dict[str, Any] | None = jsontext.loads(row["args"]) if row["args"] else None
    point = None if args is None else search.point_of(args)
    if point is None:
        return None
    # One that waits in the queue goes on; until then its last values are no result.
    if row["state"] in run_states.LIVE or row["queued_at"] is not None:
        return Seen(point, None, is_running=True)
    # As W&B's own search has it, a run that failed, crashed or was killed has no values, whatever it had logged.
    has_finished = row["state"] == run_states.FINISHED
    return Seen(point, search.values_in(jsontext.loads(row["summary"])) if has_finished else None, is_running=False)
