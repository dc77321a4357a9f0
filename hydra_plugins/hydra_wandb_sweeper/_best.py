"""The best configurations of a sweep, for people and programs that go on with them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ._errors import SweepError
from ._events import EventReader
from ._history import History
from ._ledger import Ledger
from ._report import why_no_best
from ._rerun import override_line
from ._results import best_trials, overrides_of_trial


@dataclass(frozen=True)
class BestTrial:
    """A finished trial. value: of the sweep's metric. duration_s: None if nobody was there to measure it."""

    trial: int
    run_id: str
    value: float
    duration_s: float | None
    directory: str | None
    overrides: list[str]

    @property
    def line(self) -> str:
        """Its overrides as they are typed after `python train.py`."""
        return override_line(self.overrides)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain containers."""
        return asdict(self)


def read_best(directory: Path, most: int) -> list[BestTrial]:
    """Return the best trials of a directory's sweep so far, the best one first.

    Errors: SweepError if it has no sweep, or if no trial has a value yet.
    """
    record, history = Ledger.open(directory, "").sweep(), History()
    history.add(EventReader(directory).new_events())
    best = best_trials(record, history.trials.values(), most)
    if not best:
        raise SweepError(f"{directory} has no best trial: {why_no_best(record, history)}.")
    return [
        BestTrial(
            trial.trial.number,
            trial.trial.run_id,
            trial.metrics[record.metric_name],
            trial.duration_s,
            trial.output_dir,
            overrides_of_trial(record, trial),
        )
        for trial in best
    ]
