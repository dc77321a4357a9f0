"""What the supervisor says while a sweep runs: a line when a trial ends."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from ._history import History
from ._ledger import SweepRecord
from ._outcome import FINISHED

log = logging.getLogger(__name__)


class Progress:
    """Turns events into log lines. history: folded with the same events already."""

    def __init__(self, sweep: SweepRecord, history: History) -> None:
        self._sweep = sweep
        self._history = history

    def show(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Log the events that matter to a person."""
        for event in events:
            if event["event"] == "ended" and event["final"]:
                self._show_end(event)
            elif event["event"] == "offered":
                log.info("Trial %d waits for an agent again: %s", event["trial"], event["reason"])
            elif event["event"] == "sweep_stopped":
                log.error("The sweep is stopped: %s", event["reason"])

    def _show_end(self, event: Mapping[str, Any]) -> None:
        counts = self._history.counts()
        ended = sum(count for state, count in counts.items() if state not in ("running", "queued"))
        of = f"/{self._sweep.expected_trials}" if self._sweep.expected_trials is not None else ""
        name = self._sweep.metric_name
        value = event["metrics"].get(name)
        what = f", {name}={value:.6g}" if value is not None else ""
        why = f": {event['error_line']}" if event["state"] != FINISHED and event["error_line"] else ""
        log.info("[%d%s] trial %d %s%s%s", ended, of, event["trial"], event["state"], what, why)
