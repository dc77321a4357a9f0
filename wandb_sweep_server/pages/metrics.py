"""The numbers of runs' summaries, as columns. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wandb_sweep_server.importance import is_finite
from wandb_sweep_server.metrics import metrics_in

MOST_METRICS = 200


def numbers_in(summary: Mapping[str, Any]) -> dict[str, float]:
    """The metrics that are finite numbers: browsers know no others."""
    return metrics_in(summary, is_finite)


def metric_columns(rows: Sequence[Mapping[str, float]], own: str | None) -> dict[str, list[float | None]]:
    """Metrics by name, with a value per row: the sweep's own, and others as they come, 200 in all.

    rows: as `numbers_in` returns them. own: name of the sweep's metric; without a column if no row has it.
    """
    names = {own: None} if own is not None and any(own in row for row in rows) else {}
    for row in rows:
        if len(names) >= MOST_METRICS:
            break
        names |= dict.fromkeys(row)
    return {name: [row.get(name) for row in rows] for name in list(names)[:MOST_METRICS]}
