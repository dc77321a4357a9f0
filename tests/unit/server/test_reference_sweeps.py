"""The `sweeps` package is W&B's own search: the same grids, and random values of the same distributions."""

from __future__ import annotations

import json
import random
import warnings
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wandb_sweep_server.search.grid import GridSearch
from wandb_sweep_server.search.random import RandomSearch
from wandb_sweep_server.search.space import parse_parameters

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what it imports is old
    sweeps = pytest.importorskip("sweeps", reason="it needs NumPy 1, which Python 3.13 has no wheels for")

SAMPLES = 2000


def plain(config: dict[str, Any]) -> str:
    return json.dumps({key: item["value"] for key, item in config.items()}, sort_keys=True)


def reference_grid(parameters: dict[str, Any], count: int) -> list[str]:
    found = sweeps.next_runs({"method": "grid", "parameters": parameters}, [], n=count + 1)
    assert found[-1] is None, "the reference goes on"
    return [plain(run.config) for run in found[:-1]]


SCALARS = st.one_of(
    # No floats that are whole: the reference takes 1 and 1.0 for the same.
    st.none(), st.booleans(), st.integers(-5, 5), st.sampled_from([0.5, -1.25, 1e-3]), st.text("ab1", max_size=2),
)  # fmt: skip
SPECS: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.builds(lambda values: {"values": values}, st.lists(SCALARS, min_size=1, max_size=3)),
    st.builds(lambda value: {"value": value}, SCALARS),
    st.builds(lambda low, width: {"min": low, "max": low + width}, st.integers(-9, 9), st.integers(1, 3)),
    st.builds(
        lambda low, steps, q: {"distribution": "q_uniform", "min": low, "max": low + steps * q, "q": q},
        st.integers(-9, 9),
        st.integers(1, 3),
        st.sampled_from([1, 2, 5]),
    ),
)
NAMES = st.text("abc", min_size=1, max_size=2)
NESTED = st.builds(lambda inner: {"parameters": inner}, st.dictionaries(NAMES, SPECS, min_size=1, max_size=2))


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(NAMES, SPECS | NESTED, min_size=1, max_size=3))
def test_a_grid_has_the_configurations_of_the_reference(parameters: dict[str, Any]) -> None:
    search = GridSearch(parse_parameters(parameters))
    ours = [plain(search.args(index)) for index in range(search.trial_count)]
    assert Counter(ours) == Counter(reference_grid(parameters, search.trial_count))


RANDOM = [
    {"distribution": "uniform", "min": -2, "max": 5},
    {"min": 1, "max": 9},
    {"distribution": "q_uniform", "min": 0, "max": 10, "q": 2},
    {"distribution": "q_uniform", "min": 0.0, "max": 1.0, "q": 0.1},
    {"distribution": "log_uniform", "min": -3, "max": 2},
    {"distribution": "log_uniform_values", "min": 1e-4, "max": 1e2},
    {"distribution": "q_log_uniform", "min": 0, "max": 5, "q": 1},
    {"distribution": "q_log_uniform_values", "min": 1, "max": 200, "q": 4},
    {"distribution": "inv_log_uniform", "min": -1, "max": 4},
    {"distribution": "inv_log_uniform_values", "min": 0.01, "max": 3},
    {"distribution": "normal", "mu": 2, "sigma": 3},
    {"distribution": "q_normal", "mu": 2, "sigma": 3, "q": 1},
    {"distribution": "log_normal", "mu": 0.5, "sigma": 0.7},
    {"distribution": "q_log_normal", "mu": 2, "sigma": 1, "q": 2},
    {"distribution": "beta", "a": 2, "b": 5},
    {"distribution": "q_beta", "a": 2, "b": 2, "q": 0.1},
    {"values": [1, 3, 9]},
    {"values": [1, 3, 9], "probabilities": [0.6, 0.1, 0.3]},
]


def share_below(values: list[float]) -> Callable[[float], float]:
    ordered = sorted(values)
    return lambda x: bisect_right(ordered, x + 1e-9) / len(ordered)


@pytest.mark.parametrize("spec", RANDOM, ids=[str(spec) for spec in RANDOM])
def test_random_values_are_spread_like_those_of_the_reference(spec: dict[str, Any]) -> None:
    search = RandomSearch(parse_parameters({"a": spec}), 11)
    ours = [float(search.args(index)["a"]["value"]) for index in range(SAMPLES)]
    before = random.getstate()
    random.seed(11)  # the reference draws from the global generator
    try:
        theirs = sweeps.next_runs({"method": "random", "parameters": {"a": spec}}, [], n=SAMPLES)
    finally:
        random.setstate(before)
    other = [float(run.config["a"]["value"]) for run in theirs]
    # Kolmogorov and Smirnov: 0.0515 is exceeded once in a hundred pairs of equal distributions; the seeds are fixed.
    below_ours, below_other = share_below(ours), share_below(other)
    assert max(abs(below_ours(x) - below_other(x)) for x in {*ours, *other}) < 0.0515
