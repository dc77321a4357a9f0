"""Random search draws every distribution of W&B within its bounds, and trial k is always the same."""

from __future__ import annotations

import itertools
import json
import math
import statistics
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wandb_sweep_server.search.random import RandomSearch
from wandb_sweep_server.search.space import parse_parameters

DRAWS = 2000
E = math.e


def draws(spec: dict[str, Any], count: int = DRAWS, seed: int = 7) -> list[Any]:
    search = RandomSearch(parse_parameters({"a": spec}), seed)
    return [search.args(index)["a"]["value"] for index in range(count)]


# Distribution, its other keys, bounds (None: none), type of the values, and the median to expect.
TABLE = [
    ("uniform", {"min": -1, "max": 3.0}, -1, 3, float, 1.0),
    ("uniform", {"min": 2.0, "max": 2.0}, 2, 2, float, 2.0),
    ("int_uniform", {"min": -5, "max": 5}, -5, 5, int, 0),
    ("q_uniform", {"min": 0, "max": 10, "q": 2}, 0, 10, int, 5),
    ("q_uniform", {"min": 0.0, "max": 1.0, "q": 0.25}, 0, 1, float, 0.5),
    ("q_uniform", {"min": 0, "max": 6}, 0, 6, int, 3),
    ("log_uniform", {"min": -2, "max": 2}, E**-2, E**2, float, 1.0),
    ("log_uniform_values", {"min": 0.001, "max": 10}, 0.001, 10, float, 0.1),
    ("log_uniform_values", {"min": 1e-300, "max": 1e300}, 1e-300, 1e300, float, 1.0),
    ("q_log_uniform", {"min": 0, "max": 4, "q": 1}, 1, 55, int, E**2),
    ("q_log_uniform", {"min": 0, "max": 4.0, "q": 0.5}, 1, 55, float, E**2),
    ("q_log_uniform_values", {"min": 1, "max": 100, "q": 2}, 0, 100, int, 10),
    ("inv_log_uniform", {"min": -1, "max": 3}, E**-3, E**1, float, E**-1),
    ("inv_log_uniform_values", {"min": 0.01, "max": 1}, 0.01, 1, float, 0.1),
    ("normal", {}, None, None, float, 0.0),
    ("normal", {"mu": 5, "sigma": 0}, 5, 5, float, 5.0),
    ("normal", {"mu": -3, "sigma": 0.1}, -4, -2, float, -3.0),
    ("q_normal", {"mu": 10, "sigma": 3, "q": 2}, None, None, int, 10),
    ("q_normal", {"mu": 0.0, "sigma": 1.0, "q": 0.1}, None, None, float, 0.0),
    ("log_normal", {}, 0, None, float, 1.0),
    ("log_normal", {"mu": 2, "sigma": 0.5}, 0, None, float, E**2),
    ("q_log_normal", {"mu": 3, "sigma": 0.5}, 0, None, int, E**3),
    ("beta", {}, 0, 1, float, 0.5),
    ("beta", {"a": 2, "b": 8}, 0, 1, float, 0.18),
    ("q_beta", {"a": 5, "b": 5, "q": 0.1}, 0, 1, float, 0.5),
    ("q_beta", {"q": 1}, 0, 1, int, 0.5),
]


@pytest.mark.parametrize(("name", "keys", "low", "high", "kind", "median"), TABLE)
def test_every_distribution_keeps_its_bounds_type_step_and_middle(
    name: str, keys: dict[str, Any], low: float | None, high: float | None, kind: type, median: float
) -> None:
    values = draws({"distribution": name, **keys})
    assert {type(v) for v in values} == {kind}
    assert low is None or min(values) >= low - 1e-12
    assert high is None or max(values) <= high + 1e-12
    if name.startswith("q_"):
        q = keys.get("q", 1)
        assert all(v / q == pytest.approx(round(v / q), abs=1e-6) for v in values)
    # Fixed seed; wide enough that another generator passes as well.
    below, above = sum(v < median for v in values) / DRAWS, sum(v > median for v in values) / DRAWS
    assert below <= 0.56, "the middle is too far up"
    assert above <= 0.56, "the middle is too far down"


@pytest.mark.parametrize(
    ("spec", "shares"),
    [
        ({"values": ["a", "b", "c", "d"]}, {"a": 0.25, "b": 0.25, "c": 0.25, "d": 0.25}),
        ({"distribution": "categorical", "values": ["a", "a", "b"]}, {"a": 2 / 3, "b": 1 / 3}),
        ({"values": ["a", "b", "c"], "probabilities": [0.7, 0.3, 0]}, {"a": 0.7, "b": 0.3, "c": 0}),
        ({"values": ["a", "b"], "probabilities": [3, 1]}, {"a": 0.75, "b": 0.25}),
        ({"min": 1, "max": 4}, dict.fromkeys([1, 2, 3, 4], 0.25)),
        ({"value": "k"}, {"k": 1}),
    ],
)
def test_discrete_values_come_in_their_shares(spec: dict[str, Any], shares: dict[Any, float]) -> None:
    found = Counter(draws(spec))
    assert set(found) <= set(shares)
    assert {value: found[value] / DRAWS for value in shares} == pytest.approx(shares, abs=0.05)


def test_normal_has_its_spread() -> None:
    assert statistics.pstdev(draws({"distribution": "normal", "mu": 1, "sigma": 4})) == pytest.approx(4, rel=0.1)


@pytest.mark.parametrize(
    "spec",
    [
        {"distribution": "q_log_normal", "mu": 700, "sigma": 50, "q": 0.001},
        {"distribution": "log_normal", "mu": 1000, "sigma": 1},
        {"distribution": "log_normal", "mu": -1e6},
        {"distribution": "q_normal", "q": 5e-324},
        {"distribution": "q_log_uniform", "min": -709, "max": 709, "q": 1e-9},
        {"distribution": "q_beta", "q": 1e-320},
    ],
)
def test_values_at_the_end_of_floats_are_finite_numbers_and_no_error(spec: dict[str, Any]) -> None:
    assert all(math.isfinite(value) for value in draws(spec, 200))


SPACE = {
    "lr": {"distribution": "log_uniform_values", "min": 1e-5, "max": 1.0},
    "n": {"min": 1, "max": 10**6},
    "opt": {"parameters": {"m": {"min": 0.0, "max": 1.0}, "k": {"values": ["a", "b"]}}},
}


def test_a_seed_means_the_same_trials_for_ever() -> None:
    # If this fails, trials of sweeps that were started with an earlier version change under their users.
    args = RandomSearch(parse_parameters(SPACE), 1).args(0)
    assert args["n"] == {"value": 440158}
    assert args["opt"] == {"value": {"m": 0.26906007804419774, "k": "b"}}
    assert args["lr"]["value"] == pytest.approx(0.04264561621969885)  # exp() is the machine's


@given(st.permutations(range(6)), st.integers(-5, 2**31))
def test_a_trial_depends_on_seed_and_number_only_not_on_the_order_of_asking(order: list[int], seed: int) -> None:
    one, other = (RandomSearch(parse_parameters(SPACE), seed) for _ in range(2))
    assert {index: one.args(index) for index in order} == {index: other.args(index) for index in range(6)}


def test_other_seeds_and_other_numbers_give_other_trials() -> None:
    searches = [RandomSearch(parse_parameters(SPACE), seed) for seed in range(30)]
    trials = [json.dumps(search.args(index)) for search, index in itertools.product(searches, range(30))]
    assert len(set(trials)) == 900


def test_random_search_has_no_end() -> None:
    search = RandomSearch(parse_parameters(SPACE), 1)
    assert search.trial_count is None
    assert search.args(10**15)["n"]["value"] >= 1
