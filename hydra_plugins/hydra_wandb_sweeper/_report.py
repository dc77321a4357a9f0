"""What the user is told when a sweep has ended. Pure but for `report`."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ._history import History
from ._ledger import SweepRecord
from ._outcome import FAILED
from ._progress_view import TRIAL_LOG
from ._results import RESULTS_FILE, TRIALS_FILE, SweepResults, best_trials, swept_values
from ._timesheet import TimeSpent
from ._trial_table import TrialHistory
from ._wording import duration_text, one_line

log = logging.getLogger(__name__)

_BEST = 5
# Metrics in a message.
_MOST_NAMED = 10


@dataclass(frozen=True)
class BestRow:
    """One of the best trials. parameters: those that differ between trials. directory: as seen from the sweep's."""

    trial: int
    value: float
    duration_s: float | None
    parameters: str
    directory: str


def best_rows(record: SweepRecord, history: History, directory: Path, most: int = _BEST) -> list[BestRow]:
    """Return the best trials, the best one first. directory: the sweep directory."""
    return [_row(record, trial, directory) for trial in best_trials(record, history.trials.values(), most)]


def _row(record: SweepRecord, trial: TrialHistory, directory: Path) -> BestRow:
    values = " ".join(f"{name}={value}" for name, value in swept_values(record, trial).items())
    place = trial.output_dir or ""
    if place.startswith(f"{directory}{os.sep}"):
        place = os.path.relpath(place, directory)
    return BestRow(
        trial.trial.number, trial.metrics[record.metric_name], trial.duration_s, one_line(values), one_line(place)
    )


def best_table(metric: str, rows: Sequence[BestRow]) -> list[str]:
    """Return the lines of a table of the best trials."""
    heading = ("trial", one_line(metric), "time", "directory", "parameters")
    cells = [heading]
    for row in rows:
        time = duration_text(row.duration_s) if row.duration_s is not None else ""
        cells.append((str(row.trial), f"{row.value:.6g}", time, row.directory, row.parameters))
    widths = [max(len(row[column]) for row in cells) for column in range(len(heading))]
    # Numbers to the right, words to the left; the longest words come last, where they push nothing aside.
    return ["  ".join((*_right(row[:3], widths), *_left(row[3:], widths[3:]))).rstrip() for row in cells]


def _right(cells: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [cell.rjust(width) for cell, width in zip(cells, widths, strict=False)]


def _left(cells: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [cell.ljust(width) for cell, width in zip(cells, widths, strict=False)]


def time_text(spent: TimeSpent) -> str:
    """Say how long the sweep took, and what the agents did with their time."""
    text = f"It took {duration_text(spent.wall_s)}"
    if spent.utilisation is None:
        return f"{text}."
    return (
        f"{text}; agents worked for {duration_text(spent.agent_s)} in all, {spent.utilisation:.0%} of that in trials."
    )


def report(
    results: SweepResults,
    record: SweepRecord,
    history: History,
    directory: Path,
    *,
    again: str | None = None,
    is_interrupted: bool = False,
) -> None:
    """Log counts, the best trials, where the time went and where everything is.

    directory: the sweep directory. again: a command line that runs the best configuration again.
    """
    summary = results.summary
    counts = ", ".join(f"{count} {state}" for state, count in summary["trials"].items() if count)
    said = "Sweep %s was interrupted: %s." if is_interrupted else "Sweep %s ended: %s."
    log.info(said, record.sweep.path, counts or "no trial ran")
    if summary["best_value"] is not None:
        log.info("Best %s: %.6g (%s)", record.metric_name, summary["best_value"], " ".join(summary["best_overrides"]))
        log.info("Its directory: %s", summary["best_dir"])
        table = best_table(record.metric_name, best_rows(record, history, directory))
        log.info("The best trials:%s", "".join(f"\n    {line}" for line in table))
    elif summary["trials"]["finished"]:
        log.warning(
            "No trial has a metric '%s'; return it from the task, log it, or set hydra.sweeper.metric.name "
            "(there %s).",
            record.metric_name,
            _known_metrics(results),
        )
    if (output := _output_of_a_failure(results)) is not None:
        log.info("What a trial that failed has printed: %s", output)
    log.info("%s", time_text(history.times.spent()))
    log.info("Results: %s, %s", directory / RESULTS_FILE, directory / TRIALS_FILE)
    log.info("Sweep directory: %s, page: %s", directory, record.url)
    if again is not None:
        log.info("To run the best configuration again: %s", again)


def _output_of_a_failure(results: SweepResults) -> Path | None:
    """Return where the error of the last trial that failed is told in full; None if that is nowhere."""
    failed = (row for row in reversed(results.trials) if row["state"] == FAILED and row["directory"])
    log_file = next((Path(row["directory"]) / TRIAL_LOG for row in failed), None)
    return log_file if log_file is not None and log_file.exists() else None


def _known_metrics(results: SweepResults) -> str:
    columns = sorted({column for row in results.trials for column in row if column.startswith("metric.")})
    names = [column.removeprefix("metric.") for column in columns[:_MOST_NAMED]] + ["…"] * (
        len(columns) > _MOST_NAMED
    )
    return f"are {', '.join(names)}" if names else "is none"
