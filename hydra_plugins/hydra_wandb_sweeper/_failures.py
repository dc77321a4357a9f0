"""Trials that have failed for good, marked and counted in the ledger by all agents."""

from __future__ import annotations

from pathlib import Path

from ._files import create_once
from ._tally import Tally

DIRECTORIES = ("failed", "failed_counted", "failed_taken_back")


class Failures:
    """Trials whose retries are used up. root: the ledger's directory.

    How many there are is counted beside the marks: to list these at every failure would take the longer the more
    there are.
    """

    def __init__(self, root: Path) -> None:
        marks, counted, taken_back = (root / name for name in DIRECTORIES)
        self._marks = marks
        self._counted = Tally(counted)
        self._taken_back = Tally(taken_back)

    def mark(self, number: int) -> int:
        """Count the trial of that number, once; returns how many there are now."""
        if create_once(self._mark(number), 0):
            self._counted.add()
        return self._counted.value() - self._taken_back.value()

    def has(self, number: int) -> bool:
        """True if that trial was counted."""
        return self._mark(number).exists()

    def unmark(self, number: int) -> None:
        """That trial gets another chance after all."""
        try:
            self._mark(number).unlink()
        except FileNotFoundError:  # never marked, or somebody else was faster
            return
        self._taken_back.add()

    def _mark(self, number: int) -> Path:
        return self._marks / f"{number:06d}"
