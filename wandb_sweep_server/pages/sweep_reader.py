"""Sweep data from the store: rows are read there, and made into JSON in other threads."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from wandb_sweep_server import jsontext
from wandb_sweep_server.records import Project, Sweep
from wandb_sweep_server.store import Store
from wandb_sweep_server.sweep_config import SweepConfig

from .changes import Changes
from .importances import Found, Importances, table_of
from .sweep_data import sweep_change, sweep_data
from .sweep_rows import SweepRows, some_of_sweep, whole_sweep


class SweepReader:
    """What pages are told of a sweep. wake: called in the store's thread with the row number of one that changes."""

    def __init__(self, store: Store, wake: Callable[[int], None], importances: Importances) -> None:
        self._store = store
        self._changes = Changes(store.database, wake)
        self._importances = importances

    async def whole(self, sweep: Sweep, base_url: str) -> str:
        """All of a sweep, as JSON. base_url: of this server, as its client sees it."""
        revision, rows = await self._store.run(lambda: self._rows(sweep))

        def text() -> str:
            data = sweep_data(rows, base_url)
            found = self._importances.known(sweep.id, table_of(data))
            return _dumps({**data, **found.to_json(), "revision": revision})

        return await asyncio.to_thread(text)

    async def change(self, sweep: Sweep, revision: int | None, base_url: str) -> dict[str, Any] | None:
        """What has changed of a sweep since a revision, None if nothing has.

        Raises:
            OutdatedError: That can't be told.
        """
        new, rows = await self._store.run(lambda: self._rows_since(sweep, revision))
        if rows is None:
            return None
        return {**await asyncio.to_thread(sweep_change, rows, base_url), "revision": new}

    async def importance(self, sweep: Sweep) -> Found:
        """Which of the sweep's parameters matter, as well as can be told."""
        _, rows = await self._store.run(lambda: self._rows(sweep))
        table = await asyncio.to_thread(lambda: table_of(sweep_data(rows, "")))
        return await self._importances.find(sweep.id, table)

    def _rows(self, sweep: Sweep) -> tuple[int, SweepRows]:
        revision = self._changes.revision(sweep.id)
        return revision, whole_sweep(self._store.database, *self._of(sweep))

    def _rows_since(self, sweep: Sweep, revision: int | None) -> tuple[int, SweepRows | None]:
        changed = self._changes.since(sweep.id, revision)
        if not changed.is_anything:
            return changed.revision, None
        rows = some_of_sweep(
            self._store.database, *self._of(sweep), run_ids=changed.run_ids, agent_ids=changed.agent_ids
        )
        return changed.revision, rows

    def _of(self, sweep: Sweep) -> tuple[Project, Sweep, SweepConfig, float]:
        store = self._store
        now = store.sweeps.by_id(sweep.id) or sweep
        project = store.projects.by_id(now.project_id)
        return project, now, store.sweeps.config(now), store.clock.wall_s()


def _dumps(data: dict[str, Any]) -> str:
    try:
        return json.dumps(data, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError):
        return jsontext.dumps(_plain(data))


def _plain(data: dict[str, Any]) -> dict[str, Any]:
    """A sweep's configuration comes from YAML, which has dates, and mappings by them, infinities and NaN."""
    config = json.loads(json.dumps(data["sweep"]["config"], default=str, skipkeys=True))
    return {**data, "sweep": {**data["sweep"], "config": jsontext.finite(config)}}
