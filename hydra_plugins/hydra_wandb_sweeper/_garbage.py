"""Python's search for garbage, where there is hardly any."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

# Of Python's 700 (2,000 since 3.13). Bounded all the same: configs that are composed and thrown away are garbage.
_ALLOCATIONS = 100_000


@contextmanager
def rarely_searched() -> Iterator[None]:
    """Meanwhile search once in many allocations: modules that are imported and configs that are composed stay.

    To look through them again and again took an eighth of the time from the sweeper's start to the first trial.
    Where somebody has switched the search off, it stays off.
    """
    before = gc.get_threshold()
    if before[0]:
        gc.set_threshold(max(before[0], _ALLOCATIONS), *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
