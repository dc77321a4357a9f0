"""The list of all sweeps, each with its counts and its best run; the best ones are kept, and found anew on change."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from functools import partial
from typing import Any

from starlette.concurrency import run_in_threadpool

from wandb_sweep_server import jsontext, run_states
from wandb_sweep_server.records import Sweep
from wandb_sweep_server.store import Store

from .metrics import numbers_in
from .sweep_data import expected_of, metric_of

MOST_SWEEPS = 1_000
# Summaries that the store reads in one piece of work.
_AT_ONCE = 2_000

_COUNTS = "SELECT state, COUNT(*) FROM runs INDEXED BY states_of_sweep WHERE sweep_id = ? GROUP BY state"
_NEWEST = "SELECT MAX(created_at) FROM runs WHERE sweep_id = ?"
_FINISHED = (
    "SELECT id, name, summary FROM runs INDEXED BY states_of_sweep "
    "WHERE sweep_id = ? AND state = ? AND id > ? ORDER BY id LIMIT ?"
)


@dataclass(frozen=True)
class _Goal:
    """What a sweep's configuration says that is shown here."""

    config_digest: str
    metric: dict[str, str] | None
    expected: int | None


class SweepList:
    """Lists sweeps; used in the event loop."""

    def __init__(self, store: Store) -> None:
        self._store = store
        # By row of the sweep. Pages ask every few seconds, and to parse many configurations takes as long.
        self._goals: dict[int, _Goal] = {}
        self._best: dict[int, tuple[_Goal, dict[str, Any] | None]] = {}
        # Written in the store's thread: rows of sweeps whose runs have changed since their best was found.
        self._changed: set[int] = set()
        store.database.call_on_change("runs", ("sweep_id", "state", "summary"), self._note)

    def _note(self, sweep_id: int | None, _: int) -> None:
        if sweep_id is not None:
            self._changed.add(sweep_id)

    async def read(self) -> list[dict[str, Any]]:
        """The newest sweeps, the newest first."""
        sweeps = await self._store.run(lambda: self._store.sweeps.page(None, 0, MOST_SWEEPS))
        listed = []
        for sweep in sweeps:
            shown = await self._store.run(partial(self._shown, sweep))
            listed.append({**shown, "best": await self._best_of(sweep.id, self._goals[sweep.id])})
        return listed

    def _finished(self, sweep_id: int, after: int) -> list[sqlite3.Row]:
        return self._store.database.rows(_FINISHED, (sweep_id, run_states.FINISHED, after, _AT_ONCE))

    def _shown(self, sweep: Sweep) -> dict[str, Any]:
        db, project, goal = self._store.database, self._store.projects.by_id(sweep.project_id), self._goal(sweep)
        return {
            "entity": project.entity,
            "project": project.name,
            "id": sweep.name,
            "name": sweep.display_name,
            "state": sweep.state,
            "method": sweep.method,
            "metric": goal.metric,
            "created_at": sweep.created_at,
            "expected": goal.expected,
            "updated_at": max(sweep.updated_at, db.value(_NEWEST, (sweep.id,)) or 0.0),
            "counts": {row[0]: row[1] for row in db.rows(_COUNTS, (sweep.id,))},
        }

    def _goal(self, sweep: Sweep) -> _Goal:
        known = self._goals.get(sweep.id)
        if known is None or known.config_digest != sweep.config_digest:
            config = self._store.sweeps.config(sweep)
            known = _Goal(sweep.config_digest, metric_of(config.document), expected_of(config))
            self._goals[sweep.id] = known
        return known

    async def _best_of(self, sweep_id: int, goal: _Goal) -> dict[str, Any] | None:
        if goal.metric is None:
            return None
        known = self._best.get(sweep_id)
        if known is not None and known[0] == goal and sweep_id not in self._changed:
            return known[1]
        self._changed.discard(sweep_id)  # before reading: what changes meanwhile is read the next time
        best: tuple[float, str] | None = None
        last = 0
        while rows := await self._store.run(partial(self._finished, sweep_id, last)):
            best = await run_in_threadpool(
                _better, best, [(row["name"], row["summary"]) for row in rows], goal.metric
            )
            last = rows[-1]["id"]
        found = None if best is None else {"run": best[1], "value": best[0]}
        self._best[sweep_id] = (goal, found)
        return found


def _better(
    best: tuple[float, str] | None, runs: list[tuple[str, str]], metric: dict[str, str]
) -> tuple[float, str] | None:
    """The best of a run and others; the first of equals."""
    for name, summary in runs:
        value = numbers_in(jsontext.loads(summary)).get(metric["name"])
        if value is None:
            continue
        if best is None or (value > best[0] if metric["goal"] == "maximize" else value < best[0]):
            best = (value, name)
    return best
