"""What is known of each trial of a sweep, kept so that 10^5 of them take little room."""

from __future__ import annotations

import marshal
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field, fields
from operator import attrgetter

from ._ledger import Trial

RUNNING = "running"
QUEUED = "queued"


@dataclass
class TrialHistory:
    """One trial; everything is of its latest attempt. Times are seconds since the epoch."""

    trial: Trial
    state: str = RUNNING
    agent: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    error_line: str | None = None
    output_dir: str | None = None
    started: float = 0.0
    duration_s: float | None = None
    is_preempting: bool = False


class TrialTable(MutableMapping[int, TrialHistory]):
    """Trials by their numbers, in the order in which they came.

    Those that have ended are packed, a fifth of their size: where an agent runs in the supervisor's process, each of
    its forks copies the page tables of all that is held here. So what is got of one of them is a copy: a change of it
    is to be set.
    """

    def __init__(self) -> None:
        self._trials: dict[int, TrialHistory | bytes] = {}

    def __getitem__(self, number: int) -> TrialHistory:
        held = self._trials[number]
        return _unpacked(held) if isinstance(held, bytes) else held

    def __setitem__(self, number: int, trial: TrialHistory) -> None:
        self._trials[number] = trial if trial.state in (RUNNING, QUEUED) else _packed(trial)

    def __delitem__(self, number: int) -> None:
        del self._trials[number]

    def __iter__(self) -> Iterator[int]:
        return iter(self._trials)

    def __len__(self) -> int:
        return len(self._trials)

    def __contains__(self, number: object) -> bool:
        return number in self._trials


_of_trial = attrgetter(*(item.name for item in fields(Trial)))
_of_history = attrgetter(*(item.name for item in fields(TrialHistory)[1:]))


def _packed(history: TrialHistory) -> bytes:
    return marshal.dumps((_of_trial(history.trial), _of_history(history)))


def _unpacked(data: bytes) -> TrialHistory:
    of_trial, of_history = marshal.loads(data)  # noqa: S302 (packed above, in this process)
    return TrialHistory(Trial(*of_trial), *of_history)
