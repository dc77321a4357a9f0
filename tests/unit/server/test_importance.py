"""Importance of parameters by ranks."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wandb_sweep_server.importance import Importance, importance, ranks

VALUES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers()))
RUNS = st.integers(0, 12).flatmap(
    lambda count: st.tuples(
        st.lists(st.lists(VALUES, min_size=count, max_size=count), max_size=3),
        st.lists(st.one_of(st.none(), st.floats()), min_size=count, max_size=count),
    )
)


def only(values: list[Any], metric: list[float | None]) -> Importance:
    (one,) = importance({"x": values}, metric)
    return one


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([], [], id="none"),
        pytest.param([3, 1, 2], [3, 1, 2], id="different"),
        pytest.param([5, 5, 1], [2.5, 2.5, 1], id="two alike"),
        pytest.param([7, 7, 7], [2, 2, 2], id="all alike"),
        pytest.param([1, 1.0, 2], [1.5, 1.5, 3], id="1 and 1.0 are one number"),
    ],
)
def test_equal_values_share_the_average_of_their_ranks(values: list[float], expected: list[float]) -> None:
    assert ranks(values) == expected


@pytest.mark.parametrize(
    ("values", "metric", "expected"),
    [
        pytest.param([1, 2, 3, 4], [1, 4, 9, 16], (1.0, 1.0), id="grows with the parameter"),
        pytest.param([1e-3, 1e-2, 1e-1], [3, 2, 1], (1.0, -1.0), id="falls"),
        pytest.param([1, 1, 1], [3, 2, 1], (0.0, None), id="constant parameter"),
        pytest.param([1, 2, 3], [5, 5, 5], (0.0, None), id="constant metric"),
        pytest.param(["a", "a", "b", "b"], [1, 1, 2, 2], (1.0, None), id="category that decides all"),
        pytest.param(["a", "b", "c", "d"], [1, 2, 3, 4], (0.0, None), id="category of which each is seen once"),
        pytest.param([True, True, False, False], [1, 1, 2, 2], (1.0, None), id="bool is a category"),
        pytest.param([1, 2, 3, None], [1, 2, 3, 0], (1.0, 1.0), id="run without the parameter"),
        pytest.param([1, 2, 3, 4], [1, 2, 3, math.nan], (1.0, 1.0), id="metric that isn't finite"),
        pytest.param([1] * 3 + [2] * 3 + [3] * 3, [1] * 3 + [4] * 3 + [1] * 3, (1.0, 0.0), id="best in the middle"),
        pytest.param([[1], [1], {"a": 2}, {"a": 2}], [1, 1, 2, 2], (1.0, None), id="lists and mappings"),
    ],
)
def test_importance_of_one_parameter(
    values: list[Any], metric: list[float | None], expected: tuple[float, float | None]
) -> None:
    one = only(values, metric)
    assert (one.importance, one.correlation) == pytest.approx(expected)


def test_two_runs_say_nothing() -> None:
    assert importance({"x": [1, 2]}, [1, 2]) == []
    assert importance({"x": [1, 2, 3]}, [1, 2, None]) == []


def test_correlation_is_that_of_scipy_with_ties() -> None:
    stats = pytest.importorskip("scipy.stats")
    random_ = random.Random(3)
    xs = [random_.randrange(10) for _ in range(200)]
    ys = [x + random_.randrange(12) for x in xs]
    assert only(xs, list(map(float, ys))).correlation == pytest.approx(stats.spearmanr(xs, ys).statistic)


def test_what_matters_more_comes_first_and_noise_counts_for_little() -> None:
    random_ = random.Random(5)
    lr, width = [random_.random() for _ in range(300)], [random_.choice([32, 64]) for _ in range(300)]
    model = [random_.choice(["mlp", "cnn"]) for _ in range(300)]
    noise = [random_.choice("abcdefghij") for _ in range(300)]
    metric = [3 * a + (0.5 if m == "cnn" else 0) for a, m in zip(lr, model, strict=True)]
    found = importance({"noise": noise, "width": width, "model": model, "lr": lr}, metric)
    assert [one.name for one in found[:2]] == ["lr", "model"]
    assert all(one.importance < 0.05 for one in found[2:])


@given(RUNS)
def test_whatever_the_values_are_importance_is_a_share_and_the_largest_comes_first(
    runs: tuple[list[list[Any]], list[float | None]],
) -> None:
    columns, metric = runs
    found = importance({str(number): column for number, column in enumerate(columns)}, metric)
    shares = [one.importance for one in found]
    assert shares == sorted(shares, reverse=True)
    assert all(0 <= share <= 1 for share in shares)
    assert all(one.correlation is None or -1.0001 <= one.correlation <= 1.0001 for one in found)


@given(st.lists(st.tuples(st.integers(-20, 20), st.floats(-1e6, 1e6)), min_size=3))
def test_only_the_order_of_numbers_counts(pairs: list[tuple[int, float]]) -> None:
    xs, ys = [x for x, _ in pairs], [y for _, y in pairs]
    assert only([x**3 for x in xs], ys) == only(xs, ys)
