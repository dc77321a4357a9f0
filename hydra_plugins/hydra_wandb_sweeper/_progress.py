"""What the supervisor says while a sweep runs: a line when a trial ends."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from ._ledger import SweepRecord
from ._outcome import FINISHED

log = logging.getLogger(__name__)


class Progress:
    """Turns events into log lines: each trial's end with how many have ended by then."""

    def __init__(self, sweep: SweepRecord) -> None:
        self._sweep = sweep
        self._ended: set[int] = set()

    def catch_up(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Take in what happened before anybody watched, and say in one line how far the sweep is."""
        for event in events:
            self._count(event)
        if self._ended:
            log.info("%d%s trial(s) have ended so far.", len(self._ended), self._of())

    def show(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Log the events that matter to a person."""
        for event in events:
            self._count(event)
            if event["event"] == "ended" and event["final"]:
                self._show_end(event)
            elif event["event"] == "offered":
                log.info("Trial %d waits for an agent again: %s", event["trial"], event["reason"])
            elif event["event"] == "sweep_stopped":
                log.error("The sweep is stopped: %s", event["reason"])

    def _count(self, event: Mapping[str, Any]) -> None:
        if event["event"] == "ended" and event["final"]:
            self._ended.add(event["trial"])
        elif event["event"] == "offered":
            self._ended.discard(event["trial"])

    def _of(self) -> str:
        return f"/{self._sweep.expected_trials}" if self._sweep.expected_trials is not None else ""

    def _show_end(self, event: Mapping[str, Any]) -> None:
        name = self._sweep.metric_name
        value = event["metrics"].get(name)
        what = f", {name}={value:.6g}" if value is not None else ""
        why = f": {event['error_line']}" if event["state"] != FINISHED and event["error_line"] else ""
        count = len(self._ended)
        log.info("[%d%s] trial %d %s%s%s", count, self._of(), event["trial"], event["state"], what, why)
