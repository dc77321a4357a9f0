"""Sweeps: creation, changes, and when they end."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from . import run_states, scheduling
from .clock import Clock
from .database import Database
from .errors import ClientError, NotFoundError
from .recent import Recent
from .records import Project, Sweep, record, row_id_of
from .search.bayes import BayesSearch, is_installed, require_packages
from .sweep_config import SweepConfig, parse_sweep_config

_LIVE = ", ".join(f"'{state}'" for state in run_states.LIVE)
# Without being told SQLite may prefer to go through all of the sweep's runs.
_LIVE_RUNS = "runs INDEXED BY live_runs"
_IS_LIVE = f"state IN ({_LIVE}) AND queued_at IS NULL"

# Parsed configurations in memory: so many, of so many characters in all, each of which takes up to 10 bytes. Lists of
# trials have millions.
MOST_CONFIGS = 64
MOST_CONFIG_CHARS = 32 * 2**20


@dataclass(frozen=True)
class SweepChange:
    """What a client may set of a sweep; None leaves a thing as it is. `config` is YAML."""

    config: str | None = None
    state: str | None = None
    display_name: str | None = None
    description: str | None = None
    controller: str | None = None
    scheduler: str | None = None


@dataclass(frozen=True)
class _Parsed:
    digest: str
    seed: int
    config: SweepConfig


class Sweeps:
    """Sweeps and their search."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        new_name: Callable[[], str],
        is_installed: Callable[[str], bool] = is_installed,
    ) -> None:
        self._is_installed = is_installed
        self._db = database
        self._clock = clock
        self._new_name = new_name
        self._configs: Recent[int, _Parsed] = Recent(MOST_CONFIGS, MOST_CONFIG_CHARS)

    def by_id(self, sweep_id: int) -> Sweep | None:
        """The sweep of a row number, or None."""
        return record(Sweep, self._db.row("SELECT * FROM sweeps WHERE id = ?", (sweep_id,)))

    def by_name(self, project_id: int, name: str) -> Sweep | None:
        """The sweep with the id users know it by, or None."""
        row = self._db.row("SELECT * FROM sweeps WHERE project_id = ? AND name = ?", (project_id, name))
        return record(Sweep, row)

    def page(self, project_id: int | None, offset: int, count: int) -> list[Sweep]:
        """Sweeps of a project (None: of all), newest first."""
        rows = self._db.rows(
            "SELECT * FROM sweeps WHERE ?1 IS NULL OR project_id = ?1 ORDER BY id DESC LIMIT ?2 OFFSET ?3",
            (project_id, count, offset),
        )
        return [Sweep(**dict(row)) for row in rows]

    def is_any_open(self, within_s: float) -> bool:
        """Whether there is a sweep that hasn't ended, and of which something changed less than within_s ago."""
        marks = ", ".join("?" * len(scheduling.OPEN))
        sql = f"SELECT 1 FROM sweeps WHERE state IN ({marks}) AND updated_at > ? LIMIT 1"  # noqa: S608 (question marks)
        return self._db.value(sql, (*scheduling.OPEN, self._clock.wall_s() - within_s)) is not None

    def ended_among(self, sweep_ids: Collection[int]) -> list[int]:
        """Those of the sweeps (row numbers) that have ended, or are gone."""
        sql = "SELECT state FROM sweeps WHERE id = ?"
        return [sweep_id for sweep_id in sweep_ids if self._db.value(sql, (sweep_id,)) not in scheduling.OPEN]

    def count(self, project_id: int) -> int:
        """How many sweeps a project has."""
        return int(self._db.value("SELECT COUNT(*) FROM sweeps WHERE project_id = ?", (project_id,)))

    def config(self, sweep: Sweep) -> SweepConfig:
        """The sweep's configuration; parsed once for each text, and again if it was long out of use."""
        known = self._configs.get(sweep.id)
        # The seed too: a sweep whose creation is undone leaves its number to the next one.
        if known is None or (known.digest, known.seed) != (sweep.config_digest, sweep.seed):
            text = self.config_text(sweep)
            known = self._keep(sweep.id, text, sweep.seed, parse_sweep_config(text, sweep.seed))
        return known.config

    def config_text(self, sweep: Sweep) -> str:
        """The sweep's configuration as it is now, in YAML as it was sent."""
        return str(self._db.value("SELECT text FROM sweep_configs WHERE sweep_id = ?", (sweep.id,)))

    def _keep(self, sweep_id: int, text: str, seed: int, config: SweepConfig) -> _Parsed:
        parsed = _Parsed(_digest(text), seed, config)
        self._configs.put(sweep_id, parsed, len(text))
        return parsed

    def create(self, project: Project, change: SweepChange) -> Sweep:
        """A new sweep.

        Raises:
            ClientError: The configuration is missing or wrong, or needs packages that are not installed.
        """
        if change.config is None:
            raise ClientError("a new sweep needs a config")
        seed = secrets.randbits(31)
        config = self._usable(change.config, seed)
        now_s = self._clock.wall_s()
        sweep_id = self._db.insert(
            "sweeps",
            {
                "project_id": project.id,
                "name": self._new_name(),
                "config_digest": _digest(change.config),
                "method": config.method,
                "state": scheduling.requested_state(scheduling.PENDING, change.state or scheduling.PENDING),
                "seed": seed,
                "display_name": change.display_name or config.name,
                "description": change.description or config.description,
                "controller": change.controller,
                "scheduler": change.scheduler,
                "controller_run_name": self._new_name(),
                "created_at": now_s,
                "updated_at": now_s,
            },
        )
        self._db.insert("sweep_configs", {"sweep_id": sweep_id, "text": change.config})
        self._keep(sweep_id, change.config, seed, config)
        return self._reload(sweep_id)

    def _usable(self, text: str, seed: int) -> SweepConfig:
        config = parse_sweep_config(text, seed)
        if isinstance(config.search, BayesSearch):
            require_packages(self._is_installed)
        return config

    def require(self, global_id: str) -> Sweep:
        """The sweep with that opaque id.

        Raises:
            NotFoundError: There is none.
        """
        row_id = row_id_of("Sweep", global_id)
        sweep = None if row_id is None else self.by_id(row_id)
        if sweep is None:
            raise NotFoundError(f"sweep with id {global_id!r} does not exist")
        return sweep

    def change(self, sweep: Sweep, change: SweepChange) -> Sweep:
        """Apply a client's changes.

        Raises:
            ClientError: The configuration or state is wrong, or parameters of a grid change after trials
                of it were handed out, which would repeat some and skip others.
        """
        columns: dict[str, Any] = {
            key: value
            for key in ("display_name", "description", "controller", "scheduler")
            if (value := getattr(change, key)) is not None
        }
        if change.config is not None:
            columns |= self._change_config(sweep, change.config)
        if change.state is not None:
            columns["state"] = scheduling.requested_state(sweep.state, change.state)
        self._db.update("sweeps", sweep.id, {**columns, "updated_at": self._clock.wall_s()})
        if columns.get("state") == scheduling.CANCELED:
            self._stop_runs(sweep)
        return self._reload(sweep.id)

    def _change_config(self, sweep: Sweep, text: str) -> dict[str, Any]:
        new, old = self._usable(text, sweep.seed), self.config(sweep)
        # repr tells 1 from 1.0 and keeps the order, both of which a grid depends on.
        moved = new.method != old.method or repr(new.parameters) != repr(old.parameters)
        if moved and sweep.next_trial and "grid" in (new.method, old.method):
            raise ClientError(
                f"sweep {sweep.name}: the parameters of a grid cannot change after {sweep.next_trial} trials "
                "of it were handed out; create a new sweep"
            )
        self._db.execute("UPDATE sweep_configs SET text = ? WHERE sweep_id = ?", (text, sweep.id))
        return {"config_digest": _digest(text), "method": new.method}

    def _stop_runs(self, sweep: Sweep) -> None:
        self._db.execute(
            f"UPDATE runs SET stop_requested = 1 WHERE sweep_id = ? AND state IN ({_LIVE})",  # noqa: S608
            (sweep.id,),
        )
        self._db.execute(
            "UPDATE runs SET queued_at = NULL, state = CASE state WHEN ? THEN ? ELSE state END "
            "WHERE sweep_id = ? AND queued_at IS NOT NULL",
            (run_states.PENDING, run_states.KILLED, sweep.id),
        )

    def situation(self, sweep: Sweep, *, agent_is_busy: bool = False) -> scheduling.Situation:
        """What the next decision about the sweep depends on."""
        return scheduling.Situation(
            sweep_state=sweep.state,
            agent_is_busy=agent_is_busy,
            has_queued=self._exists("runs WHERE sweep_id = ? AND queued_at IS NOT NULL", sweep.id),
            is_exhausted=self.is_exhausted(sweep),
            has_live=self._exists(f"{_LIVE_RUNS} WHERE sweep_id = ? AND {_IS_LIVE}", sweep.id),
        )

    def _exists(self, what: str, sweep_id: int) -> bool:
        return self._db.value(f"SELECT 1 FROM {what} LIMIT 1", (sweep_id,)) is not None  # noqa: S608

    def is_exhausted(self, sweep: Sweep) -> bool:
        """Whether the search has no further trial for this sweep."""
        config = self.config(sweep)
        trial_count = config.search.trial_count
        return (trial_count is not None and sweep.next_trial >= trial_count) or (
            config.run_cap is not None and sweep.run_count >= config.run_cap
        )

    def settle(self, sweep_id: int) -> None:
        """Turn the sweep FINISHED if nothing of it is left to do."""
        sweep = self._reload(sweep_id)
        # Cheapest condition first: this runs at the end of every run.
        if self.is_exhausted(sweep) and scheduling.is_complete(self.situation(sweep)):
            self.set_state(sweep, scheduling.FINISHED)

    def set_state(self, sweep: Sweep, state: str) -> Sweep:
        """Store a state that the server itself decided on."""
        self._db.update("sweeps", sweep.id, {"state": state, "updated_at": self._clock.wall_s()})
        return self._reload(sweep.id)

    def count_run(self, sweep_id: int) -> None:
        """One more run belongs to the sweep."""
        self._db.execute("UPDATE sweeps SET run_count = run_count + 1 WHERE id = ?", (sweep_id,))

    def advance(self, sweep: Sweep) -> None:
        """The next trial of the search was handed out."""
        self._db.execute("UPDATE sweeps SET next_trial = next_trial + 1 WHERE id = ?", (sweep.id,))

    def _reload(self, sweep_id: int) -> Sweep:
        sweep = self.by_id(sweep_id)
        if sweep is None:
            raise LookupError(f"sweep row {sweep_id} is missing")
        return sweep


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
