"""Which values of a run's summary, or of a line of its history, are metrics: one rule for pages and tables."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any


def metrics_in(summary: Mapping[str, Any], is_value: Callable[[Any], bool]) -> dict[str, Any]:
    """The values that are a metric's, nested ones under dotted names, as W&B's own pages name them (`val.loss`).

    Names that begin with _ are W&B's own. What has a `_type` is an image, a table or the like, with numbers that say
    how large it is.
    """
    found: dict[str, Any] = {}
    # What is less deep comes first, and wins where a key has a dot itself.
    left = deque(("", key, value) for key, value in summary.items() if not key.startswith("_"))
    while left:
        prefix, key, value = left.popleft()
        if isinstance(value, dict):
            if "_type" not in value:
                left.extend((f"{prefix}{key}.", inner, below) for inner, below in value.items())
        elif is_value(value):
            found.setdefault(f"{prefix}{key}", value)
    return found
