"""Sweep data: what the page of a sweep shows, and what has changed of it. Pure.

Columns rather than objects: thousands of runs are read by a browser at once, and drawn by column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from wandb_sweep_server import jsontext
from wandb_sweep_server.sweep_config import SweepConfig

from .metrics import metric_columns, numbers_in
from .parameters import Parameter, swept_parameters
from .run_facts import reason_of, state_of, times_of
from .sweep_rows import SweepRows

# Larger numbers are no longer exact in a browser; to it such a sweep is without end.
_MOST_EXPECTED = 2**53


def sweep_path(entity: str, project: str, sweep: str) -> str:
    """The path of a sweep's page."""
    return f"/{quote(entity, safe='')}/{quote(project, safe='')}/sweeps/{quote(sweep, safe='')}"


def sweep_data(rows: SweepRows, base_url: str) -> dict[str, Any]:
    """All of a sweep but importance and revision. base_url: of this server, as its client sees it."""
    parameters = swept_parameters(rows.config.parameters)
    return {
        "sweep": {**_sweep(rows, base_url), "config": rows.config.document},
        "parameters": [parameter.to_json() for parameter in parameters],
        "runs": run_columns(rows, parameters),
        "agents": agents_of(rows),
    }


def sweep_change(rows: SweepRows, base_url: str) -> dict[str, Any]:
    """What has changed of a sweep, without revision and the configuration."""
    return {
        "sweep": _sweep(rows, base_url),
        "runs": run_columns(rows, swept_parameters(rows.config.parameters)),
        "agents": agents_of(rows),
        "deleted": rows.deleted,
    }


def _sweep(rows: SweepRows, base_url: str) -> dict[str, Any]:
    sweep, project = rows.sweep, rows.project
    return {
        "entity": project.entity,
        "project": project.name,
        "id": sweep.name,
        "name": sweep.display_name,
        "description": sweep.description,
        "url": f"{base_url}{sweep_path(project.entity, project.name, sweep.name)}",
        "state": sweep.state,
        "method": sweep.method,
        "created_at": sweep.created_at,
        "now": rows.now_s,
        "metric": metric_of(rows.config.document),
        "expected": expected_of(rows.config),
    }


def metric_of(config: Mapping[str, Any]) -> dict[str, str] | None:
    """Name and goal of what a sweep optimises; the first one of several, None if it names none."""
    metrics = config.get("metrics")
    metric = metrics[0] if isinstance(metrics, list) and metrics else config.get("metric")
    if not isinstance(metric, dict):
        return None
    name = metric.get("name")
    if not isinstance(name, str) or not name:
        return None
    return {"name": name, "goal": "maximize" if metric.get("goal") == "maximize" else "minimize"}


def run_columns(rows: SweepRows, parameters: Sequence[Parameter]) -> dict[str, Any]:
    """Columns of equal length, one entry per run."""
    held: dict[int, list[Any]] = {}
    for assignment in rows.own_assignments:
        held.setdefault(assignment["run_id"], []).append(assignment)
    times = [times_of(run, held.get(run["id"], ()), rows.now_s) for run in rows.runs]
    summaries = [jsontext.loads(run["summary"]) for run in rows.runs]
    arguments = [jsontext.loads(run["args"] or run["config"] or "{}") for run in rows.runs]
    metric = metric_of(rows.config.document)
    own = None if metric is None else metric["name"]
    return {
        "id": [run["name"] for run in rows.runs],
        "name": [run["display_name"] or run["name"] for run in rows.runs],
        "state": [state_of(run) for run in rows.runs],
        "began_at": [time.began_at for time in times],
        "ended_at": [time.ended_at for time in times],
        "duration_s": [round(time.duration_s, 3) for time in times],
        "host": [run["host"] or run["agent_host"] for run in rows.runs],
        "agent": [run["agent"] for run in rows.runs],
        "reason": [reason_of(run, summary) for run, summary in zip(rows.runs, summaries, strict=True)],
        "parameters": {one.name: [one.value_in(given) for given in arguments] for one in parameters},
        "metrics": metric_columns([numbers_in(summary) for summary in summaries], own),
    }


def agents_of(rows: SweepRows) -> list[dict[str, Any]]:
    """Agents with their trials, in the order of their coming."""
    trials: dict[int, list[dict[str, Any]]] = {}
    for one in rows.assignments:
        shown = {key: one[key] for key in ("run", "began_at", "ended_at", "how")}
        trials.setdefault(one["agent_id"], []).append(shown)
    return [
        {
            "name": agent["name"],
            "host": agent["host"],
            "job": agent["job"],
            "began_at": agent["created_at"],
            "ended_at": agent["ended_at"],
            "ended": agent["ended"],
            "trials": trials.get(agent["id"], []),
        }
        for agent in rows.agents
    ]


def expected_of(config: SweepConfig) -> int | None:
    """How many trials there will be in all; None if that isn't known, or more than there are numbers for."""
    count = config.trial_count
    return count if count is not None and count < _MOST_EXPECTED else None
