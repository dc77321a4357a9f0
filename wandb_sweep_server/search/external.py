"""Sweeps whose trials are chosen by a scheduler outside of the server."""

from __future__ import annotations


class ExternalSearch:
    """Never suggests anything and never ends: the scheduler enqueues runs and finishes the sweep."""

    trial_count = None

    def args(self, index: int) -> None:
        """Nothing for now."""
        return
