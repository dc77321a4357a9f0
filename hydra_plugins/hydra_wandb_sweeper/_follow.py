"""Watching a sweep beside the process that supervises it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from . import _slurm
from ._control import Control
from ._events import EventReader, in_batches
from ._history import History, JobRecord
from ._ledger import Ledger
from ._progress import Progress, display_if_possible
from ._progress_view import JobView
from ._status import job_states
from ._watch import Watch

_POLL_S = 0.5
# How often the jobs' states are asked for: SLURM is asked by the supervisor already.
_ASK_S = 15.0
_ASK_FOR_NEW_S = 3.0


def follow(ledger: Ledger) -> None:
    """Show what happens until nobody supervises the sweep any more."""
    history, reader, watch = History(), EventReader(ledger.directory), Watch(ledger.root)
    control, jobs = Control(ledger.root), JobsFromAfar(history)
    with contextlib.closing(Progress(ledger.sweep(), history, display_if_possible())) as progress:
        _take_in(reader, history, progress.catch_up)
        progress.show_how_far()
        while watch.holder() is not None:
            progress.look(jobs, control.orders)
            time.sleep(_POLL_S)
            _take_in(reader, history, progress.show)


def _take_in(reader: EventReader, history: History, tell: Callable[[Sequence[Mapping[str, Any]]], None]) -> None:
    for events in in_batches(reader.new_events()):
        history.add(events)
        tell(events)


class JobsFromAfar:
    """The jobs of a sweep that another process watches, asked for again when they may have changed."""

    def __init__(
        self,
        history: History,
        states: Callable[[Iterable[JobRecord]], Mapping[int, str]] = job_states,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._history = history
        self._states = states
        self._timer = timer
        self._asked_s = float("-inf")
        self._asked_for = 0
        self._views: list[JobView] = []

    def __call__(self) -> Sequence[JobView]:
        """Return those that haven't ended, as they were a while ago."""
        known = self._history.jobs
        if self._timer() - self._asked_s >= (_ASK_S if len(known) == self._asked_for else _ASK_FOR_NEW_S):
            self._asked_s, self._asked_for = self._timer(), len(known)
            states = self._states(known.values())
            self._views = [
                JobView(number, known[number].job_id, state == _slurm.PENDING)
                for number, state in sorted(states.items())
            ]
        return self._views
