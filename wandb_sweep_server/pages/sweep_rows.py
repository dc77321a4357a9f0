"""What the database says of a sweep's runs and agents, in a few queries; used in the store's thread."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from dataclasses import dataclass, field

from wandb_sweep_server import jsontext
from wandb_sweep_server.database import Database
from wandb_sweep_server.records import Project, Sweep
from wandb_sweep_server.sweep_config import SweepConfig

# The configuration only where nobody handed out arguments: it may be large.
_RUNS = (
    "SELECT runs.id, runs.name, display_name, state, queued_at, is_retry, stop_reason, exit_code, runs.host, args, "
    "CASE WHEN args IS NULL THEN config END AS config, summary, runs.created_at, runs.heartbeat_at, "
    "COALESCE(agents.label, agents.name) AS agent, agents.host AS agent_host "
    "FROM runs LEFT JOIN agents ON agents.id = runs.agent_id "
)
_ASSIGNMENTS = (
    "SELECT run_id, assignments.agent_id, runs.name AS run, began_at, assignments.ended_at, how "
    "FROM assignments JOIN runs ON runs.id = run_id "
)
_AGENTS = "SELECT id, COALESCE(label, name) AS name, host, job, created_at, ended_at, ended FROM agents "
_AMONG = "(SELECT value FROM json_each(?))"


@dataclass(frozen=True)
class SweepRows:
    """A sweep, or what has changed of it. deleted: names of runs.

    agents, and their assignments: of these agents all. own_assignments: of these runs all.
    """

    project: Project
    sweep: Sweep
    config: SweepConfig
    now_s: float
    runs: list[sqlite3.Row]
    own_assignments: list[sqlite3.Row]
    agents: list[sqlite3.Row]
    assignments: list[sqlite3.Row]
    deleted: list[str] = field(default_factory=list)


def whole_sweep(database: Database, project: Project, sweep: Sweep, config: SweepConfig, now_s: float) -> SweepRows:
    """All of it, oldest first."""
    runs = database.rows(f"{_RUNS} WHERE runs.sweep_id = ? ORDER BY runs.id", (sweep.id,))
    agents = database.rows(f"{_AGENTS} WHERE sweep_id = ? ORDER BY id", (sweep.id,))
    assignments = database.rows(f"{_ASSIGNMENTS} WHERE assignments.sweep_id = ? ORDER BY assignments.id", (sweep.id,))
    return SweepRows(project, sweep, config, now_s, runs, assignments, agents, assignments)


def some_of_sweep(
    database: Database,
    project: Project,
    sweep: Sweep,
    config: SweepConfig,
    now_s: float,
    *,
    run_ids: Collection[int],
    agent_ids: Collection[int],
) -> SweepRows:
    """Runs and agents by their row numbers, as far as they still exist."""
    chosen, workers = (jsontext.dumps(sorted(ids)) for ids in (run_ids, agent_ids))
    runs = database.rows(f"{_RUNS} WHERE runs.id IN {_AMONG} ORDER BY runs.id", (chosen,))
    deleted = database.rows(f"SELECT name FROM deleted_runs WHERE run_id IN {_AMONG}", (chosen,))  # noqa: S608
    return SweepRows(
        project,
        sweep,
        config,
        now_s,
        runs,
        database.rows(f"{_ASSIGNMENTS} WHERE run_id IN {_AMONG} ORDER BY assignments.id", (chosen,)),
        database.rows(f"{_AGENTS} WHERE id IN {_AMONG} ORDER BY id", (workers,)),
        database.rows(f"{_ASSIGNMENTS} WHERE assignments.agent_id IN {_AMONG} ORDER BY assignments.id", (workers,)),
        [row["name"] for row in deleted],
    )
