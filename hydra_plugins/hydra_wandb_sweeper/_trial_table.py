"""What is known of each trial of a sweep, kept so that 10^5 of them are no burden where trials are forked."""

from __future__ import annotations

import marshal
from array import array
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field, fields
from operator import attrgetter

from ._ledger import Trial
from ._unforked_bytes import UnforkedBytes

RUNNING = "running"
QUEUED = "queued"

_NOWHERE = 2**64 - 1


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
    """Trials by their numbers, which have no gaps but while the table is filled; in the order of these.

    Those that have ended are packed, and lie where a fork has nothing to copy of them: an agent in the supervisor's
    process forks beside all that is held here. So what is got of one of them is a copy: a change of it is to be set.
    """

    def __init__(self) -> None:
        self._open: dict[int, TrialHistory] = {}
        self._packed = UnforkedBytes()
        self._places = array("Q")  # by number, in _packed
        self._count = 0

    def __getitem__(self, number: int) -> TrialHistory:
        if number in self._open:
            return self._open[number]
        place = self._place(number)
        if place == _NOWHERE:
            raise KeyError(number)
        return _unpacked(self._packed[place])

    def __setitem__(self, number: int, trial: TrialHistory) -> None:
        self._count += number not in self
        if trial.state in (RUNNING, QUEUED):
            self._open[number] = trial
            return
        self._open.pop(number, None)
        lacking = number + 1 - len(self._places)
        if lacking > 0:
            self._places.extend([_NOWHERE] * lacking)
        self._places[number] = self._packed.add(_packed(trial))

    def __delitem__(self, number: int) -> None:
        if number not in self:
            raise KeyError(number)
        self._open.pop(number, None)
        if number < len(self._places):
            self._places[number] = _NOWHERE
        self._count -= 1

    def __iter__(self) -> Iterator[int]:
        return (number for number in range(self._end()) if number in self)

    def __len__(self) -> int:
        return self._count

    def __contains__(self, number: object) -> bool:
        return number in self._open or (isinstance(number, int) and self._place(number) != _NOWHERE)

    def _end(self) -> int:
        return max(len(self._places), max(self._open, default=-1) + 1)

    def _place(self, number: int) -> int:
        return self._places[number] if 0 <= number < len(self._places) else _NOWHERE


_of_trial = attrgetter(*(item.name for item in fields(Trial)))
_of_history = attrgetter(*(item.name for item in fields(TrialHistory)[1:]))


def _packed(history: TrialHistory) -> bytes:
    return marshal.dumps((_of_trial(history.trial), _of_history(history)))


def _unpacked(data: bytes) -> TrialHistory:
    of_trial, of_history = marshal.loads(data)  # noqa: S302 (packed above, in this process)
    return TrialHistory(Trial(*of_trial), *of_history)
