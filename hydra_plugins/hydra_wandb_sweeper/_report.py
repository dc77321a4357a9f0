"""What the user is told when a sweep has ended."""

from __future__ import annotations

import logging
from pathlib import Path

from ._ledger import SweepRecord
from ._results import RESULTS_FILE, TRIALS_FILE, SweepResults

log = logging.getLogger(__name__)


def report(results: SweepResults, record: SweepRecord, directory: Path, *, is_interrupted: bool = False) -> None:
    """Log counts, the best trial and where everything is. directory: the sweep directory."""
    summary = results.summary
    counts = ", ".join(f"{count} {state}" for state, count in summary["trials"].items() if count)
    said = "Sweep %s was interrupted: %s." if is_interrupted else "Sweep %s ended: %s."
    log.info(said, record.sweep.path, counts or "no trial ran")
    if summary["best_value"] is not None:
        log.info("Best %s: %.6g (%s)", record.metric_name, summary["best_value"], " ".join(summary["best_overrides"]))
        log.info("Its directory: %s", summary["best_dir"])
    elif summary["trials"]["finished"]:
        log.warning(
            "No trial has a metric '%s'; return it from the task, log it, or set hydra.sweeper.metric.name.",
            record.metric_name,
        )
    log.info("Results: %s, %s", directory / RESULTS_FILE, directory / TRIALS_FILE)
