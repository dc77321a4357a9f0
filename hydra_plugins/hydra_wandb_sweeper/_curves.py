"""Runs' histories for report.html, read from any server within limits of time and requests."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from wandb_sweep_server.importance import is_finite

from ._client import SweepRef
from ._errors import SweepError
from ._transport import ServerAccess, Transport

MOST_RUNS = 500
MOST_KEYS = 6
POINTS = 200
# Answers stay small, and so does the time that one takes.
_RUNS_PER_REQUEST = 25
REQUEST_TIMEOUT_S = 10.0

# As W&B's SDK asks for a run's history, for several runs at once.
_SAMPLED = """
query SampledHistories($entity: String!, $project: String!, $filters: JSONString, $first: Int,
                       $specs: [JSONString!]!) {
  project(name: $project, entityName: $entity) {
    runs(filters: $filters, first: $first) { edges { node { name sampledHistory(specs: $specs) } } }
  }
}"""


@dataclass(frozen=True)
class Curve:
    """A metric of a run by its steps."""

    run_id: str
    steps: Sequence[float]
    values: Sequence[float]


@dataclass(frozen=True)
class Curves:
    """by_key: metric -> the curves of runs that have it. notes: sentences that say what is missing."""

    by_key: Mapping[str, Sequence[Curve]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_json(self) -> list[dict[str, Any]]:
        """Return the histories as report.html holds them."""
        return [
            {"key": key, "runs": [{"id": c.run_id, "steps": c.steps, "values": c.values} for c in curves]}
            for key, curves in self.by_key.items()
        ]


class CurveClient:
    """Asks a server for histories. For the arguments see Transport. Errors of every method: those of Transport."""

    def __init__(self, open_access: Callable[[], ServerAccess], *, patience_s: float) -> None:
        self._transport = Transport(open_access, patience_s=patience_s, timeout_s=REQUEST_TIMEOUT_S)

    def close(self) -> None:
        """Close its connections."""
        self._transport.close()

    def curves(self, ref: SweepRef, run_ids: Sequence[str], key: str) -> Iterator[Curve]:
        """Yield a metric's curves of those runs that have it. run_ids: of the sweep's project, not many."""
        variables = {
            "entity": ref.entity,
            "project": ref.project,
            "filters": json.dumps({"$and": [{"sweep": ref.sweep_id}, {"name": {"$in": list(run_ids)}}]}),
            "first": len(run_ids),
            "specs": [json.dumps({"keys": ["_step", key], "samples": POINTS})],
        }
        project = self._transport.graphql(_SAMPLED, variables).get("project") or {}
        for edge in (project.get("runs") or {}).get("edges") or ():
            histories = edge["node"].get("sampledHistory") or [[]]
            rows = [row for row in histories[0] or () if is_finite(row.get("_step")) and is_finite(row.get(key))]
            if rows:
                yield Curve(edge["node"]["name"], [row["_step"] for row in rows], [row[key] for row in rows])


def read_curves(
    client: CurveClient,
    ref: SweepRef,
    data: Mapping[str, Any],
    *,
    time_s: float,
    clock: Callable[[], float] = time.monotonic,
) -> Curves:
    """Read the curves of a sweep's metrics, the sweep's own first. data: the sweep data. time_s: about how long.

    What can't be read is missing, and a note says so; nothing is raised.
    """
    deadline = clock() + time_s
    runs, keys = choose_runs(data), choose_keys(data)
    found: dict[str, list[Curve]] = {}
    notes = [f"Curves are those of {len(runs)} of {len(data['runs']['id'])} runs, the best one included."]
    notes = notes if len(runs) < len(data["runs"]["id"]) else []
    for key in keys:
        for start in range(0, len(runs), _RUNS_PER_REQUEST):
            if clock() >= deadline:
                return Curves(found, (*notes, _late_note(found, keys, time_s)))
            try:
                part = list(client.curves(ref, runs[start : start + _RUNS_PER_REQUEST], key))
            except SweepError as error:
                return Curves(found, (*notes, f"The report lacks curves of metrics: {error}"))
            if part:
                found.setdefault(key, []).extend(part)
    return Curves(found, tuple(notes))


def _late_note(found: Mapping[str, Sequence[Curve]], keys: Sequence[str], time_s: float) -> str:
    return (
        f"The report lacks curves of metrics: of {', '.join(keys)}, only those of {', '.join(found) or 'none'} could "
        f"be read within {time_s:.0f} s, maybe not of all runs."
    )


def choose_keys(data: Mapping[str, Any]) -> list[str]:
    """Return the metrics whose curves are worth asking for: the sweep's, then those that most runs have."""
    metrics: Mapping[str, Sequence[Any]] = data["runs"]["metrics"]
    own = data["sweep"]["metric"]["name"]
    # Stable: those that as many runs have stay in their order.
    names = sorted(metrics, key=lambda name: (name != own, sum(value is None for value in metrics[name])))
    return list(dict.fromkeys([own, *names]))[:MOST_KEYS] if data["runs"]["id"] else []


def choose_runs(data: Mapping[str, Any], most: int = MOST_RUNS) -> list[str]:
    """Return the ids of at most so many runs, evenly spread over the sweep, the best one among them."""
    ids: list[str] = data["runs"]["id"]
    if len(ids) <= most:
        return list(ids)
    places = {i * len(ids) // (most - 1) for i in range(most - 1)}
    places.add(_best_place(data))
    return [ids[place] for place in sorted(places)]


def best_run(data: Mapping[str, Any]) -> str | None:
    """Return the id of the finished run with the best metric, None if none has it."""
    if not data["runs"]["id"]:
        return None
    place = _best_place(data)
    values = data["runs"]["metrics"].get(data["sweep"]["metric"]["name"]) or []
    is_valued = place < len(values) and values[place] is not None and data["runs"]["state"][place] == "finished"
    return str(data["runs"]["id"][place]) if is_valued else None


def _best_place(data: Mapping[str, Any]) -> int:
    metric = data["sweep"]["metric"]
    values = data["runs"]["metrics"].get(metric["name"]) or []
    states = data["runs"]["state"]
    worst = -math.inf if metric["goal"] == "maximize" else math.inf
    ended = [v if v is not None and state == "finished" else worst for v, state in zip(values, states, strict=False)]
    choose = max if metric["goal"] == "maximize" else min
    return choose(range(len(ended)), key=ended.__getitem__) if ended else 0
