"""Numbers that many processes count up together, on a file system that may be shared: a file for each of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

from ._files import create_first


def first_free(is_taken: Callable[[int], bool], low: int = 0) -> int:
    """Return the lowest number that isn't taken. Numbers are taken from 0 without gaps; those below `low` are.

    Gallops, then bisects: O(log n) looks, where a listing would have as many entries as there are numbers.
    """
    step = 1
    while is_taken(low + step - 1):
        low, step = low + step, step * 2
    high = low + step - 1
    while low < high:
        middle = (low + high) // 2
        if is_taken(middle):
            low = middle + 1
        else:
            high = middle
    return low


class Tally:
    """A count that only grows. directory: for nothing but its files."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._known = 0

    def value(self) -> int:
        """Return how often something was added, by whomever."""
        self._known = first_free(lambda number: self._path(number).exists(), self._known)
        return self._known

    def add(self) -> None:
        """Count one more."""
        create_first((self._path(number) for number in itertools.count(self.value())), 0)

    def _path(self, number: int) -> Path:
        return self._directory / str(number)
