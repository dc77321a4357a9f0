"""What the user is told when a sweep has ended. Pure but for `report`."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ._history import History
from ._ledger import SweepRecord
from ._outcome import FAILED, FINISHED
from ._output_place import log_of
from ._results import RESULTS_FILE, TRIALS_FILE, SweepResults, best_trials, swept_values
from ._timesheet import TimeSpent
from ._trial_table import RUNNING, TrialHistory
from ._wording import duration_text, one_line, shown_overrides, shown_value

log = logging.getLogger(__name__)

_BEST = 5
_FAILURES = 3
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
    values = " ".join(shown_value(name, value) for name, value in swept_values(record, trial).items())
    place = trial.output_dir or ""
    if place.startswith(f"{directory}{os.sep}"):
        place = os.path.relpath(place, directory)
    return BestRow(trial.trial.number, trial.metrics[record.metric_name], trial.duration_s, values, one_line(place))


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
    is_interrupted: bool = False,
) -> None:
    """Log counts, the best trials, where the time went and where everything is. directory: the sweep directory."""
    summary = results.summary
    counts = ", ".join(f"{count} {state}" for state, count in _counts(summary["trials"], record).items() if count)
    said = "Sweep %s was interrupted: %s." if is_interrupted else "Sweep %s ended: %s."
    log.info(said, record.sweep.path, counts or "no trial ran")
    if summary["best_value"] is not None:
        overrides = shown_overrides(summary["best_overrides"])
        log.info("Best %s: %.6g (%s)", record.metric_name, summary["best_value"], overrides)
        log.info("Its directory: %s", summary["best_dir"])
        table = best_table(record.metric_name, best_rows(record, history, directory))
        log.info("The best trials:%s", "".join(f"\n    {line}" for line in table))
    elif summary["trials"]["finished"]:
        log.warning("There is no best trial: %s.", why_no_best(record, history))
    if failures := last_failures(history):
        last = "".join(f"\n    {line}" for line in failures)
        log.warning("%d trial(s) failed; the last:%s", summary["trials"][FAILED], last)
        log.info("To run them again: hydra-sweep retry %s", directory)
    log.info("%s", time_text(history.times.spent()))
    log.info("Results: %s, %s", directory / RESULTS_FILE, directory / TRIALS_FILE)
    log.info("Sweep directory: %s, page: %s", directory, record.url)


def tell_rerun(again: str | None) -> None:
    """Log a command line that runs the best configuration again: last, since it may be long, and must be whole."""
    if again is not None:
        log.info("To run the best configuration again: %s", again)


def _counts(trials: Mapping[str, int], record: SweepRecord) -> Mapping[str, int]:
    """How many trials are in each state, those that never began included."""
    return {**trials, "not begun": max(0, (record.expected_trials or 0) - sum(trials.values()))}


def why_no_best(record: SweepRecord, history: History) -> str:
    """Say why no trial has a value to be compared, and what to do."""
    name = record.metric_name
    finished = [trial for trial in history.trials.values() if trial.state == FINISHED]
    if not finished:
        return "none has finished yet" if history.counts()[RUNNING] else "none has finished"
    if ended := sum(name in trial.metrics for trial in finished):
        return f"'{name}' was NaN or infinite in all {ended} finished trial(s) that have it"
    return (
        f"none has a metric '{name}'; return it from the task, log it, or set hydra.sweeper.metric.name "
        f"(there {_known_metrics(finished)})"
    )


def _known_metrics(finished: Sequence[TrialHistory]) -> str:
    known = sorted({name for trial in finished for name in trial.metrics})
    names = known[:_MOST_NAMED] + ["…"] * (len(known) > _MOST_NAMED)
    return f"are {', '.join(names)}" if names else "is none"


def last_failures(history: History) -> list[str]:
    """Return a line for each of the trials that failed last: which, why, and the place of its log."""
    failed = [trial for trial in history.trials.values() if trial.state == FAILED]
    return [_failure_line(trial) for trial in sorted(failed, key=lambda trial: trial.started)[-_FAILURES:]]


def _failure_line(trial: TrialHistory) -> str:
    place = log_of(trial.output_dir)
    where = f" ({one_line(str(place))})" if place is not None else ""
    return f"trial {trial.trial.number}: {one_line(trial.error_line or '')}{where}"
