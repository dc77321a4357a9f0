"""What the supervisor shows while a sweep runs: a display where there is a terminal for it, and lines everywhere."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ._control import Orders
from ._history import History
from ._ledger import SweepRecord
from ._number_set import NumberSet
from ._outcome import FAILED, FINISHED
from ._output_place import log_of
from ._terminal import TerminalDisplay, log_terminal, shown_in_display
from ._wording import one_line, shown_values

if TYPE_CHECKING:
    from ._progress_view import JobView, ProgressModel, ProgressView

log = logging.getLogger(__name__)

# The longest silence of a log.
_LINE_S = 30.0
_DRAW_S = 0.5
# Of a trial's parameters in the line of its end: those that come first say most.
_PARAMETER_CHARS = 100
# rich is imported only after this, or once a trial has begun: the first one isn't to wait for it.
_BEGIN_S = 2.0


class Progress:
    """Turns events into log lines: each trial's end with how many have ended by then, and how far it is in silence.

    history: of the sweep, which has taken in events before this is told of them. display: None for lines alone.
    tells_events: False where agents log to the same place themselves. clock: seconds since the epoch. timer: for
    intervals.
    """

    def __init__(
        self,
        sweep: SweepRecord,
        history: History,
        display: TerminalDisplay | None = None,
        *,
        tells_events: bool = True,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sweep = sweep
        self._history = history
        self._display = display
        self._tells_events = tells_events
        self._clock = clock
        self._timer = timer
        self._ended = NumberSet()
        self._line_s = self._began_s = timer()
        self._drawn_s = float("-inf")

    @cached_property
    def _model(self) -> ProgressModel:
        from ._progress_view import ProgressModel  # not before the first trial has begun: some milliseconds

        return ProgressModel(self._sweep, self._history)

    def catch_up(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Take in what happened before anybody watched."""
        self._model.add(events)
        for event in events:
            self._count(event)

    def show_how_far(self) -> None:
        """Say in one line how many trials have ended."""
        if self._ended:
            self._line_s = self._timer()
            log.info("%d%s trial(s) have ended so far.", len(self._ended), self._of())

    def show(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Log the events that matter to a person."""
        self._model.add(events)
        for event in events:
            self._count(event)
            if event["event"] == "ended" and event["final"]:
                self._show_end(event)
            elif event["event"] == "offered":
                self._tell(logging.INFO, "Trial %d waits for an agent again: %s", event["trial"], event["reason"])
            elif event["event"] == "sweep_stopped":
                self._tell(logging.ERROR, "The sweep is stopped: %s", event["reason"])

    def look(self, jobs: Callable[[], Sequence[JobView]], orders: Callable[[], Orders]) -> None:
        """Show how far the sweep is, as far as that is due; called often. jobs, orders: asked only then."""
        now_s = self._timer()
        draws = self._is_display_due(now_s)
        speaks = now_s - self._line_s >= _LINE_S
        if not (draws or speaks):
            return
        view = self._model.view(self._clock(), jobs(), orders())
        if draws and self._display is not None:
            self._drawn_s = now_s
            self._draw(self._display, view)
        if speaks:
            from ._progress_text import progress_line

            self._line_s = now_s
            log.info("%s", progress_line(view), extra=shown_in_display())

    def _draw(self, display: TerminalDisplay, view: ProgressView) -> None:
        from ._progress_display import ProgressDisplay

        if not display.is_on:
            display.begin()
        display.update(ProgressDisplay(view))
        if not display.is_on:
            self.close()  # its terminal was closed

    def close(self) -> None:
        """Take the display away: what follows is written below what was written above it."""
        display, self._display = self._display, None
        if display is not None:
            display.end()

    def _is_display_due(self, now_s: float) -> bool:
        if self._display is None or now_s - self._drawn_s < _DRAW_S:
            return False
        return self._display.is_on or bool(self._history.trials) or now_s - self._began_s >= _BEGIN_S

    def _count(self, event: Mapping[str, Any]) -> None:
        if event["event"] == "ended" and event["final"]:
            self._ended.add(event["trial"])
        elif event["event"] == "offered":
            self._ended.discard(event["trial"])

    def _of(self) -> str:
        return f"/{self._sweep.expected_trials}" if self._sweep.expected_trials is not None else ""

    def _show_end(self, event: Mapping[str, Any]) -> None:
        from ._results import swept_values

        name = self._sweep.metric_name
        value = event["metrics"].get(name)
        what = f", {name}={value:.6g}" if value is not None else ""
        trial = self._history.trials.get(event["trial"])
        parameters = shown_values(swept_values(self._sweep, trial), _PARAMETER_CHARS) if trial is not None else ""
        which = f" ({parameters})" if parameters else ""
        why = f": {one_line(event['error_line'])}" if event["state"] != FINISHED and event["error_line"] else ""
        how_far = f"{len(self._ended)}{self._of()}"
        place = log_of(event["output_dir"]) if event["state"] == FAILED else None
        where = f" (its log: {one_line(str(place))})" if place is not None else ""
        level = logging.WARNING if event["state"] == FAILED else logging.INFO
        end = f"{event['state']}{what}{which}{why}{where}"
        self._tell(level, "[%s] trial %d %s", how_far, event["trial"], end)

    def _tell(self, level: int, message: str, *values: object) -> None:
        """Log an event, unless who made it does so."""
        self._line_s = self._timer()
        if self._tells_events:
            log.log(level, message, *values)


def display_if_possible() -> TerminalDisplay | None:
    """Return a display for the terminal that log lines go to, None if there is none that could hold it."""
    stream = log_terminal()
    if stream is None:
        log.debug("Plain lines: log lines go to no terminal.")
        return None
    from ._surroundings import look_around

    if (why := look_around(stream).why_plain()) is not None:
        log.debug("Plain lines: %s.", why)
        return None
    return TerminalDisplay(stream)
