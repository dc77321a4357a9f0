"""Sweep data: all that report.html shows of a sweep, as one JSON object, in the form that the web page uses. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from wandb_sweep_server.importance import BY, importance, is_finite, is_number, reason_not_to_tell

from ._client import SweepRef
from ._sweep_config import flat_parameters
from ._timeline import AgentSpan
from ._values import render

# A summary may hold a value per class, per layer, …
_MOST_METRICS = 200
# Positive values in a list that span more than this are shown on a logarithmic scale.
_LOG_SPAN = 100.0


@dataclass(frozen=True)
class SweepEntry:
    """What is said of the sweep itself. state: in W&B's words. created_at: in seconds since the epoch.

    expected: how many trials there will be, None if that isn't known. config: the sweep's, as far as it is known.
    """

    ref: SweepRef
    name: str | None
    description: str | None
    url: str | None
    state: str
    method: str
    created_at: float | None
    metric_name: str
    metric_goal: str
    expected: int | None
    config: Mapping[str, Any]


@dataclass(frozen=True)
class RunEntry:
    """What is said of a run. state: as the embedded server calls them. Times in seconds since the epoch.

    reason: why it failed or was stopped. parameters: of the swept ones, None or missing if absent.
    """

    run_id: str
    name: str
    state: str
    began_at: float | None
    ended_at: float | None
    duration_s: float | None
    host: str | None
    agent: str | None
    reason: str | None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)


def sweep_data(
    sweep: SweepEntry, runs: Sequence[RunEntry], agents: Iterable[AgentSpan] | None, *, now: float
) -> dict[str, Any]:
    """Return the sweep data. runs: oldest first. agents: None if they aren't known. now: seconds since the epoch."""
    specs = dict(flat_parameters(sweep.config))
    described, columns = [], {}
    for name in _parameter_names(specs, runs):
        values = [run.parameters.get(name) for run in runs]
        kind = "number" if _are_numbers(values) else "category"
        columns[name] = _numbers(values) if kind == "number" else [_text(value) for value in values]
        described.append({"name": name, "kind": kind, "scale": _scale(kind, columns[name], specs.get(name, {}))})
    metrics = {name: _numbers([run.metrics.get(name) for run in runs]) for name in _metric_names(sweep, runs)}
    return {
        "sweep": _sweep(sweep, now),
        "parameters": described,
        "runs": {**_run_columns(runs), "parameters": columns, "metrics": metrics},
        **_importance(columns, metrics.get(sweep.metric_name), [run.state for run in runs]),
        "agents": [_agent(span) for span in agents or ()],
        "knows_agents": agents is not None,
    }


def _sweep(sweep: SweepEntry, now: float) -> dict[str, Any]:
    return {
        "entity": sweep.ref.entity,
        "project": sweep.ref.project,
        "id": sweep.ref.sweep_id,
        "name": sweep.name,
        "description": sweep.description,
        "url": sweep.url,
        "state": sweep.state,
        "method": sweep.method,
        "created_at": sweep.created_at,
        "now": now,
        "metric": {"name": sweep.metric_name, "goal": sweep.metric_goal},
        "expected": sweep.expected,
        "config": finite(sweep.config),
    }


def _run_columns(runs: Sequence[RunEntry]) -> dict[str, list[Any]]:
    return {
        "id": [run.run_id for run in runs],
        "name": [run.name for run in runs],
        "state": [run.state for run in runs],
        "began_at": [run.began_at for run in runs],
        "ended_at": [run.ended_at for run in runs],
        "duration_s": [run.duration_s for run in runs],
        "host": [run.host for run in runs],
        "agent": [run.agent for run in runs],
        "reason": [run.reason for run in runs],
    }


def _agent(span: AgentSpan) -> dict[str, Any]:
    trials = [{"run": t.run_id, "began_at": t.began_at, "ended_at": t.ended_at, "how": t.how} for t in span.trials]
    return {
        "name": span.name,
        "host": span.host,
        "job": span.job,
        "began_at": span.began_at,
        "ended_at": span.ended_at,
        "ended": span.ended,
        "trials": trials,
    }


def _parameter_names(specs: Mapping[str, Mapping[str, Any]], runs: Sequence[RunEntry]) -> list[str]:
    """Names in the order of the sweep config, then those that only runs tell of: the keys of trials in a list."""
    known = dict.fromkeys(name for run in runs for name in run.parameters)
    first = [name for name, spec in specs.items() if "value" not in spec and (name in known or not runs)]
    return list(dict.fromkeys([*first, *known]))


def _metric_names(sweep: SweepEntry, runs: Sequence[RunEntry]) -> list[str]:
    names = dict.fromkeys(name for run in runs for name in run.metrics)
    own = [sweep.metric_name] if sweep.metric_name in names else []
    return list(dict.fromkeys([*own, *names]))[:_MOST_METRICS]


def _are_numbers(values: Sequence[Any]) -> bool:
    present = [value for value in values if value is not None]
    return bool(present) and all(is_number(value) for value in present)


def _numbers(values: Sequence[Any]) -> list[Any]:
    return [value if is_finite(value) else None for value in values]


def _text(value: Any) -> str | None:
    if isinstance(value, bool):
        return str(value).lower()
    return value if value is None or isinstance(value, str) else render(value)


def _scale(kind: str, values: Sequence[Any], spec: Mapping[str, Any]) -> str:
    present = [value for value in values if value is not None]
    if kind != "number" or not present or min(present) <= 0:
        return "linear"
    if "min" in spec or "mu" in spec:  # a distribution says how its values are spread
        return "log" if "log" in str(spec.get("distribution", "")) else "linear"
    return "log" if max(present) / min(present) > _LOG_SPAN else "linear"


def _importance(
    columns: Mapping[str, Sequence[Any]], metric: Sequence[float | None] | None, states: Sequence[str]
) -> dict[str, Any]:
    # What a run had logged when it failed or was stopped is no result.
    results = [
        value if state == "finished" else None
        for value, state in zip(metric or [None] * len(states), states, strict=True)
    ]
    note = reason_not_to_tell(columns, results)
    found = importance(columns, results) if note is None else []
    return {"importance": [asdict(one) for one in found], "importance_by": BY, "importance_note": note}


def finite(value: Any) -> Any:
    """Return JSON with null in the place of numbers that JSON can't say."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(name): finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value
