"""Early stopping by its rule, worked out over everything each time; and histories to try it on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import strategies as st

RUNNING = "running"
# Few different numbers, so that runs tie; and what isn't counted.
VALUES = st.one_of(
    st.integers(-3, 3), st.sampled_from([0.5, 1.5, -0.25]), st.floats(-5, 5, width=16),
    st.sampled_from([None, True, "1", float("nan"), float("inf"), -float("inf")]),
)  # fmt: skip
SECTIONS = st.one_of(
    st.fixed_dictionaries(
        {"min_iter": st.integers(1, 4)},
        optional={"eta": st.sampled_from([1.1, 1.5, 2, 2.5, 3, 4]), "strict": st.booleans()},
    ),
    st.fixed_dictionaries(
        {"max_iter": st.integers(4, 20), "s": st.integers(1, 4)},
        optional={"eta": st.sampled_from([1.5, 2, 2.5, 3, 4]), "strict": st.booleans()},
    ),
)
GOALS = st.sampled_from([{}, {"goal": "minimize"}, {"goal": "maximize"}])


def line(value: Any, step: int) -> str:
    """A line of history as the SDK writes it, with bare NaN."""
    return json.dumps({"loss": value, "_step": step})


def post(values: Sequence[Any], offset: int, first_step: int | None = None) -> dict[str, Any]:
    """What a process streams when it has logged values."""
    first = offset if first_step is None else first_step
    lines = [line(value, first + i) for i, value in enumerate(values)]
    return {"files": {"wandb-history.jsonl": {"offset": offset, "content": lines}}}


def config(section: Mapping[str, Any], goal: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a sweep's configuration that early stopping goes by."""
    return {"metric": {"name": "loss", **goal}, "early_terminate": {"type": "hyperband", **section}}
