"""What a sweep leaves behind: optimization_results.yaml and trials.csv in the sweep directory."""

from __future__ import annotations

import csv
import heapq
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TextIO

from omegaconf import OmegaConf

from ._files import replacing
from ._history import History
from ._ledger import SweepRecord
from ._outcome import FAILED, FINISHED, STOPPED
from ._sweep_config import flat_args
from ._trial_table import QUEUED, RUNNING, TrialHistory
from ._values import parse

RESULTS_FILE = "optimization_results.yaml"
TRIALS_FILE = "trials.csv"
# How text is written that is none: half a surrogate pair, which a command line in another encoding may hold.
UNENCODABLE = "backslashreplace"
_STATES = (FINISHED, FAILED, STOPPED, RUNNING, QUEUED)


@dataclass(frozen=True)
class SweepResults:
    """What `sweep()` returns. summary: the content of optimization_results.yaml; trials: the rows of trials.csv."""

    summary: Mapping[str, Any]
    trials: tuple[Mapping[str, Any], ...]


def collect(sweep: SweepRecord, history: History, directory: Path, read: Callable[[str], Any] = str) -> SweepResults:
    """Summarise a sweep from its history. directory: of the sweep. read: as in Template.values, for `trials`."""
    trials = [history.trials[number] for number in sorted(history.trials)]
    best = next(iter(best_trials(sweep, trials, 1)), None)
    counts = history.counts()
    summary = {
        "name": "wandb",
        "sweep_id": sweep.sweep.sweep_id,
        "sweep_path": sweep.sweep.path,
        "sweep_url": sweep.url,
        "method": sweep.method,
        "metric": {"name": sweep.metric_name, "goal": sweep.metric_goal},
        "best_value": best.metrics[sweep.metric_name] if best else None,
        "best_params": swept_values(sweep, best, parse) if best else None,
        "best_overrides": overrides_of_trial(sweep, best) if best else None,
        "best_run_id": best.trial.run_id if best else None,
        "best_dir": best.output_dir if best else None,
        "trials": {state: counts[state] for state in _STATES},
    }
    return SweepResults(summary, tuple(_row(sweep, trial, history, read) for trial in trials))


def best_trials(sweep: SweepRecord, trials: Iterable[TrialHistory], most: int) -> list[TrialHistory]:
    """Return the finished trials with the best metrics, the best one first; equal ones by their numbers.

    A trial that diverged to infinity isn't the best one, whatever the goal.
    """
    name = sweep.metric_name
    valued = [t for t in trials if t.state == FINISHED and math.isfinite(t.metrics.get(name, math.nan))]
    sign = -1 if sweep.metric_goal == "maximize" else 1
    return heapq.nsmallest(most, valued, key=lambda t: (sign * t.metrics[name], t.trial.number))


def swept_values(sweep: SweepRecord, trial: TrialHistory, read: Callable[[str], Any] = str) -> dict[str, Any]:
    """Return the values of a trial's parameters that differ between trials. read: see Template.values."""
    args, swept = flat_args(trial.trial.args, {"parameters": sweep.parameters}), sweep.swept
    return sweep.template.values({name: value for name, value in args.items() if name in swept}, read)


def overrides_of_trial(sweep: SweepRecord, trial: TrialHistory) -> list[str]:
    """Return the Hydra overrides that make a trial's configuration. Errors: as of Template.overrides."""
    return sweep.template.overrides(flat_args(trial.trial.args, {"parameters": sweep.parameters}))


def _row(
    sweep: SweepRecord, history: TrialHistory, sweep_history: History, read: Callable[[str], Any]
) -> dict[str, Any]:
    agent = sweep_history.agents.get(history.agent)
    started = datetime.fromtimestamp(history.started, tz=timezone.utc).isoformat(timespec="seconds")
    row = {
        "number": history.trial.number,
        "run_id": history.trial.run_id,
        "state": history.state,
        "started": started,
        "duration_s": history.duration_s,
        "attempts": history.trial.attempt + 1,
        "agent": history.agent,
        "host": agent.host if agent else "",
        "directory": history.output_dir or "",
        "error": history.error_line or "",
    }
    return with_values(row, swept_values(sweep, history, read), history.metrics)


def with_values(
    row: Mapping[str, Any], parameters: Mapping[str, Any], metrics: Mapping[str, float]
) -> dict[str, Any]:
    """Return a row of trials.csv with the values of its trial before `started`."""
    # A parameter may be called like a column of ours.
    swept = {f"param.{n}" if n in row else n: value for n, value in parameters.items()}
    named = {f"metric.{name}": value for name, value in metrics.items()}
    at = list(row).index("started")
    items = list(row.items())
    return dict([*items[:at], *swept.items(), *named.items(), *items[at:]])


def columns_of(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the names of all columns of these rows, in the order of trials.csv."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    leading = [c for c in columns if not c.startswith("metric.")]
    metrics = sorted(c for c in columns if c.startswith("metric."))
    at = leading.index("started") if "started" in leading else len(leading)
    return [*leading[:at], *metrics, *leading[at:]]


def write_csv(rows: Sequence[Mapping[str, Any]], file: TextIO) -> None:
    """Write rows as in trials.csv."""
    writer = csv.DictWriter(file, fieldnames=columns_of(rows))
    writer.writeheader()
    writer.writerows(rows)


def write(results: SweepResults, directory: Path) -> None:
    """Write both files; a reader sees the old or the new one, never half of one. Errors: OSError, of their paths."""
    with replacing(directory / RESULTS_FILE) as temporary:
        temporary.write_text(OmegaConf.to_yaml(OmegaConf.create(dict(results.summary))), encoding="utf-8")
    with (
        replacing(directory / TRIALS_FILE) as temporary,
        open(temporary, "w", newline="", encoding="utf-8", errors=UNENCODABLE) as file,
    ):
        write_csv(results.trials, file)
