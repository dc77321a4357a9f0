"""Sweep data as the server gives it, made up."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

BEGAN_AT = 1_700_000_000.0
TRIAL_S = 300.0
MODELS = ("cnn", "mlp", "transformer")
PARAMETERS = [
    {"name": "lr", "kind": "number", "scale": "log"},
    {"name": "dropout", "kind": "number", "scale": "linear"},
    {"name": "model", "kind": "category", "scale": "linear"},
    {"name": "width", "kind": "number", "scale": "linear"},
]


def sweep_data(
    count: int = 24,
    *,
    states: Sequence[str] = (),
    agents: int = 4,
    state: str = "RUNNING",
    expected: int | None = None,
    **sweep: Any,
) -> dict[str, Any]:
    """Sweep data of `count` runs: `states` are those of the last ones, the others have finished.

    sweep: what else is to be said of the sweep itself. The metric is smallest near lr=0.01.
    """
    chance = random.Random(7)
    all_states = ["finished"] * (count - len(states)) + list(states)
    parameters: dict[str, list[Any]] = {name: [] for name in ("lr", "dropout", "model", "width")}
    metrics: dict[str, list[float | None]] = {"loss": [], "accuracy": []}
    timing: dict[str, list[float | None]] = {"began_at": [], "ended_at": [], "duration_s": []}
    workers = [_agent(f"agent-{number}", f"node{number % 3}") for number in range(agents)]
    for index, run_state in enumerate(all_states):
        values = {
            "lr": 10 ** chance.uniform(-5, -1),
            "dropout": round(chance.uniform(0, 0.8), 2),
            "model": chance.choice(MODELS),
            "width": chance.choice([32, 64, 128, 256]),
        }
        for name, value in values.items():
            parameters[name].append(value)
        loss = 0.1 + 0.2 * (math.log10(values["lr"]) + 2) ** 2 + 0.3 * values["dropout"] + chance.uniform(0, 0.05)
        is_live = run_state in ("running", "pending")
        metrics["loss"].append(None if run_state in ("failed", "pending") else loss)
        metrics["accuracy"].append(None if run_state in ("failed", "pending") else 1 / (1 + loss))
        worker = workers[index % agents]
        began = BEGAN_AT + TRIAL_S * (index // agents) + 3 * (index % agents)
        duration = TRIAL_S * chance.uniform(0.6, 0.97)
        timing["began_at"].append(began)
        timing["ended_at"].append(None if is_live else began + duration)
        timing["duration_s"].append(duration)
        how = None if is_live else run_state
        worker["trials"].append(
            {"run": run_id(index), "began_at": began, "ended_at": None if is_live else began + duration, "how": how}
        )
    now = BEGAN_AT + TRIAL_S * math.ceil(count / agents)
    if state not in ("RUNNING", "PAUSED"):
        for worker in workers:
            worker |= {"ended_at": now, "ended": "finished"}
    return {
        "sweep": {
            "entity": "local",
            "project": "app",
            "id": "ab12cd34",
            "name": "digits",
            "description": None,
            "url": None,
            "state": state,
            "method": "random",
            "created_at": BEGAN_AT - 60,
            "now": now,
            "metric": {"name": "loss", "goal": "minimize"},
            "expected": expected,
            "config": {"method": "random"},
            **sweep,
        },
        "parameters": PARAMETERS,
        "runs": {
            "id": [run_id(index) for index in range(count)],
            "name": [f"trial-{index}" for index in range(count)],
            "state": all_states,
            **timing,
            "host": [workers[index % agents]["host"] for index in range(count)],
            "agent": [workers[index % agents]["name"] for index in range(count)],
            "reason": ["ValueError: too large" if s == "failed" else None for s in all_states],
            "parameters": parameters,
            "metrics": metrics,
        },
        "importance": [
            {"name": "lr", "importance": 0.61, "correlation": -0.4},
            {"name": "dropout", "importance": 0.25, "correlation": 0.3},
            {"name": "model", "importance": 0.1, "correlation": None},
            {"name": "width", "importance": 0.04, "correlation": 0.02},
        ],
        "importance_by": "rank correlation",
        "importance_note": None,
        "agents": workers,
        "revision": 1,
    }


def run_id(index: int) -> str:
    """The id of a run."""
    return f"run{index:05d}"


def _agent(name: str, host: str) -> dict[str, Any]:
    return {
        "name": name,
        "host": host,
        "job": None,
        "began_at": BEGAN_AT - 5,
        "ended_at": None,
        "ended": None,
        "trials": [],
    }


def histories(data: dict[str, Any], key: str = "loss", *, points: int = 40, most: int = 500) -> dict[str, Any]:
    """Histories of the runs with that metric: each falls to its last value."""
    runs = []
    for index, last in enumerate(data["runs"]["metrics"][key]):
        if last is not None and len(runs) < most:
            values = [last + math.exp(-5 * step / points) * (0.5 + (index % 7) / 7) for step in range(points)]
            runs.append({"id": run_id(index), "steps": list(range(points)), "values": values})
    return {"key": key, "runs": runs}


def listed(data: dict[str, Any]) -> dict[str, Any]:
    """What the list of sweeps says of it."""
    sweep, runs = data["sweep"], data["runs"]
    counts = {state: runs["state"].count(state) for state in set(runs["state"])}
    values = [v for v, s in zip(runs["metrics"]["loss"], runs["state"], strict=True) if s == "finished"]
    keys = ("entity", "project", "id", "name", "state", "method", "metric", "created_at", "expected")
    best = {"run": runs["id"][0], "value": min(values)} if values else None
    return {key: sweep[key] for key in keys} | {"updated_at": sweep["now"], "counts": counts, "best": best}
