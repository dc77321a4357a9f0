"""A grid is the product of its levels, computed one combination at a time."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wandb_sweep_server.errors import ClientError
from wandb_sweep_server.search.distributions import distinct
from wandb_sweep_server.search.grid import GridSearch
from wandb_sweep_server.search.permutation import Permutation
from wandb_sweep_server.search.space import parse_parameters

SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.floats(-2, 2), st.text("ab1", max_size=2))
VALUES = st.lists(SCALARS | st.lists(SCALARS, max_size=2), min_size=1, max_size=4)
SPACES = st.dictionaries(st.text("abcd_", min_size=1, max_size=3), VALUES, min_size=1, max_size=4)


def grid(parameters: dict[str, Any], shuffle_seed: int | None = None) -> GridSearch:
    return GridSearch(parse_parameters(parameters), shuffle_seed)


def plain(args: dict[str, Any]) -> dict[str, Any]:
    return {key: item["value"] for key, item in args.items()}


def all_of(search: GridSearch) -> list[dict[str, Any]]:
    return [plain(search.args(index)) for index in range(search.trial_count)]


def as_text(configurations: list[dict[str, Any]]) -> list[str]:
    """As JSON, where 1, 1.0, true and "1" differ."""
    return [json.dumps(configuration) for configuration in configurations]


@given(SPACES)
def test_a_grid_is_the_product_of_its_values_in_the_order_of_the_parameters(space: dict[str, list[Any]]) -> None:
    combinations = itertools.product(*(distinct(values) for values in space.values()))
    expected = [dict(zip(space, chosen, strict=True)) for chosen in combinations]
    assert as_text(all_of(grid({name: {"values": values} for name, values in space.items()}))) == as_text(expected)


@given(VALUES)
def test_distinct_keeps_the_first_of_equal_values_and_their_order(values: list[Any]) -> None:
    texts = [json.dumps(value) for value in values]
    assert [json.dumps(value) for value in distinct(values)] == list(dict.fromkeys(texts))


def test_numbers_truth_and_text_that_look_alike_are_different_values() -> None:
    search = grid({"a": {"values": [1, 1.0, True, "1", 1, "True", None, "None"]}})
    assert as_text(all_of(search)) == as_text([{"a": v} for v in (1, 1.0, True, "1", "True", None, "None")])


def test_values_may_be_mappings_with_keys_of_several_types() -> None:
    search = grid({"a": {"values": [{1: "x", "b": 2}, {"b": 2, 1: "x"}, {"b": 3}]}})
    assert search.trial_count == 2


@pytest.mark.parametrize("index", [0, 1, 999_999, 10**12 - 1, 123_456_789_012])
def test_a_trial_of_a_huge_grid_is_computed_from_its_number_alone(index: int) -> None:
    # 10^12 combinations: whoever enumerates them does not come back.
    search = grid({name: {"min": 0, "max": 999} for name in "abcd"})
    assert search.trial_count == 10**12
    digits = [index // 1000**place % 1000 for place in (3, 2, 1, 0)]
    assert plain(search.args(index)) == dict(zip("abcd", digits, strict=True))


def test_a_million_listed_values_times_a_million_are_no_product_in_memory() -> None:
    values = list(range(1_000))
    search = grid({"a": {"values": values}, "b": {"values": values}, "c": {"value": "k"}})
    assert search.trial_count == 1_000_000
    assert plain(search.args(999_998)) == {"a": 999, "b": 998, "c": "k"}


@pytest.mark.parametrize("index", [-1, 4, 10**9])
def test_a_number_outside_of_the_grid_is_refused(index: int) -> None:
    with pytest.raises(IndexError, match=f"trial {index} of a grid of 4"):
        grid({"a": {"values": [1, 2]}, "b": {"values": [1, 2]}}).args(index)


def test_nested_parameters_are_nested_inside_the_value() -> None:
    search = grid(
        {
            "opt": {
                "parameters": {
                    "name": {"value": "adam"},
                    "sched": {"parameters": {"gamma": {"values": [0.1, 0.2]}, "k": {"value": 1}}},
                }
            },
            "opt.lr": {"values": [1, 2]},
        }
    )
    assert search.trial_count == 4
    assert search.args(3) == {
        "opt": {"value": {"name": "adam", "sched": {"gamma": 0.2, "k": 1}}},
        "opt.lr": {"value": 2},
    }


@pytest.mark.parametrize(
    ("spec", "values"),
    [
        ({"min": 1, "max": 4}, [1, 2, 3, 4]),
        ({"min": -1, "max": -1}, [-1]),
        ({"distribution": "int_uniform", "min": -2, "max": 1}, [-2, -1, 0, 1]),
        ({"distribution": "q_uniform", "min": 0, "max": 10, "q": 5}, [0, 5]),
        ({"distribution": "q_uniform", "min": 0, "max": 11, "q": 5}, [0, 5, 10]),
        ({"distribution": "q_uniform", "min": 1, "max": 4}, [1, 2, 3]),
        ({"distribution": "q_uniform", "min": 0.0, "max": 1.0, "q": 0.25}, [0.0, 0.25, 0.5, 0.75]),
        ({"distribution": "q_uniform", "min": 0.5, "max": 0.6, "q": 1}, [0.5]),
        ({"distribution": "categorical", "values": ["b", "a"]}, ["b", "a"]),
        ({"distribution": "constant", "value": {"k": [1]}}, [{"k": [1]}]),
        ({"value": None}, [None]),
    ],
)
def test_discrete_parameters_are_enumerated(spec: dict[str, Any], values: list[Any]) -> None:
    found = [configuration["a"] for configuration in all_of(grid({"a": spec}))]
    assert [(type(v), v) for v in found] == [(type(v), v) for v in values]


@given(st.integers(-50, 50), st.integers(0, 200), st.integers(1, 7))
def test_q_uniform_goes_from_min_in_steps_of_q_and_leaves_max_out(low: int, width: int, q: int) -> None:
    spec = {"distribution": "q_uniform", "min": low, "max": low + width, "q": q}
    expected = list(range(low, low + width, q))
    if not expected:
        with pytest.raises(ClientError, match="max > min"):
            grid({"a": spec})
        return
    assert [c["a"] for c in all_of(grid({"a": spec}))] == expected
    assert grid({"a": spec}).trial_count == math.ceil(width / q)


@pytest.mark.parametrize(
    "spec",
    [
        {"min": 0.0, "max": 1.0},
        {"min": 0, "max": 1.0},
        {"distribution": "log_uniform_values", "min": 1, "max": 2},
        {"distribution": "normal"},
        {"distribution": "q_normal"},
        {"distribution": "beta"},
        {"values": [1, 2], "probabilities": [0.5, 0.5]},
        {"distribution": "q_uniform", "min": 1, "max": 1},
    ],
)
def test_what_a_grid_cannot_enumerate_is_refused_by_name(spec: dict[str, Any]) -> None:
    with pytest.raises(ClientError, match=r"'opt\.lr' \(\w+\) cannot be searched by a grid; .*'values'"):
        grid({"fine": {"value": 1}, "opt": {"parameters": {"lr": spec}}})


@given(SPACES, st.integers())
def test_a_shuffled_grid_has_each_combination_once(space: dict[str, list[Any]], seed: int) -> None:
    parameters = {name: {"values": values} for name, values in space.items()}
    assert sorted(as_text(all_of(grid(parameters, seed)))) == sorted(as_text(all_of(grid(parameters))))


@given(st.integers(1, 500), st.integers())
def test_a_permutation_has_everything_once(size: int, seed: int) -> None:
    order = Permutation(size, seed)
    assert sorted(order[index] for index in range(size)) == list(range(size))


def test_a_permutation_of_more_than_memory_holds_is_as_quick() -> None:
    order = Permutation(10**30, seed=1)
    drawn = [order[index] for index in range(1000)]
    assert len(set(drawn)) == 1000
    assert max(drawn) < 10**30


@pytest.mark.parametrize("index", [-1, 5])
def test_a_permutation_has_no_other_places(index: int) -> None:
    with pytest.raises(IndexError, match=f"place {index} of 5"):
        Permutation(5, 0)[index]


def test_a_tenth_of_a_shuffled_grid_has_about_a_tenth_of_every_value() -> None:
    search = grid({"a": {"values": list(range(10))}, "b": {"values": list(range(100))}}, shuffle_seed=3)
    first = [plain(search.args(index))["a"] for index in range(100)]
    assert all(2 <= first.count(value) <= 20 for value in range(10))


def test_another_seed_is_another_order() -> None:
    orders = {tuple(Permutation(50, seed)[index] for index in range(50)) for seed in range(100)}
    assert len(orders) == 100
