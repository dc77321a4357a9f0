"""Search strategies: from a trial's index to its parameters."""

from __future__ import annotations

from typing import Any, Protocol


class Search(Protocol):
    """A strategy whose trial number k is a pure function of k, so that a restart changes nothing."""

    @property
    def trial_count(self) -> int | None:
        """How many trials there are, or None if without end."""

    def args(self, index: int) -> dict[str, Any] | None:
        """The arguments of a trial, `{"lr": {"value": 0.1}}`.

        Args:
            index: From 0, below `trial_count`.

        Returns:
            None if this strategy leaves the choice to someone else for now.
        """
