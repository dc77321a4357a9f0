"""Bayesian search moves along every distribution of W&B, and finds the runs it knows again by their arguments."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.server.test_random_search import TABLE
from wandb_sweep_server.errors import ClientError
from wandb_sweep_server.search.bayes import BayesSearch, Objective, Point
from wandb_sweep_server.search.space import parse_parameters

LOSS = (Objective("loss", is_maximized=False),)


def search(**parameters: dict[str, Any]) -> BayesSearch:
    return BayesSearch(parse_parameters(parameters), LOSS, 1)


def value_at(spec: dict[str, Any], coordinate: float) -> Any:
    return search(a=spec).args_at((coordinate,))["a"]["value"]


SEARCHABLE = [row for row in TABLE if row[1].get("sigma") != 0 and row[1].get("min") != row[1].get("max", math.inf)]


@pytest.mark.parametrize(("name", "keys", "low", "high", "kind", "median"), SEARCHABLE)
def test_every_distribution_keeps_bounds_type_and_step_and_has_its_median_in_the_middle(
    name: str, keys: dict[str, Any], low: float | None, high: float | None, kind: type, median: float
) -> None:
    found = search(a={"distribution": name, **keys})
    count = found.axes[0].count
    steps = [i / 100 for i in range(101)] if count is None else list(range(count))
    values = [found.args_at((step,))["a"]["value"] for step in steps]
    assert {type(value) for value in values} == {kind}
    assert values == sorted(values)
    assert low is None or values[0] >= low - 1e-12
    assert high is None or values[-1] <= high + 1e-12
    q = keys.get("q", 1) if name.startswith("q_") else 0
    assert not q or all(v / q == pytest.approx(round(v / q), abs=1e-6) for v in values)
    assert values[len(values) // 2] == pytest.approx(median, rel=0.02, abs=q / 2 + 1e-3)


@pytest.mark.parametrize(
    ("spec", "values", "has_order"),
    [
        ({"min": 1, "max": 4}, [1, 2, 3, 4], True),
        ({"min": -1, "max": 0}, [-1, 0], True),
        ({"values": [64, 16, 32]}, [16, 32, 64], True),
        ({"values": [1, 0.5, 2]}, [0.5, 1, 2], True),
        ({"values": [2, 1]}, [2, 1], False),
        ({"values": ["a", None, True, [1, 2], {"k": 1}]}, ["a", None, True, [1, 2], {"k": 1}], False),
        ({"values": ["a", "b", "a"]}, ["a", "b"], False),
        ({"values": [1, 1.0, True, "1"]}, [1, 1.0, True, "1"], False),
        ({"values": ["a", "b", "c"], "probabilities": [0.5, 0, 0.5]}, ["a", "c"], False),
    ],
)
def test_discrete_values_are_listed_with_their_types(
    spec: dict[str, Any], values: list[Any], has_order: bool
) -> None:
    found = search(a=spec)
    assert (found.axes[0].count, found.axes[0].has_order) == (len(values), has_order)
    listed = [found.args_at((index,))["a"]["value"] for index in range(len(values))]
    assert [(type(v), v) for v in listed] == [(type(v), v) for v in values]


@pytest.mark.parametrize(
    "spec",
    [
        {"distribution": "normal", "mu": 5, "sigma": 2},
        {"distribution": "log_normal", "mu": 1, "sigma": 0.5},
    ],
)
def test_the_tails_of_what_has_no_bounds_are_left_out(spec: dict[str, Any]) -> None:
    ends = [value_at(spec, coordinate) for coordinate in (0.0, 1.0)]
    if spec["distribution"] == "log_normal":
        ends = [math.log(end) for end in ends]
    assert [(end - spec["mu"]) / spec["sigma"] for end in ends] == pytest.approx([-3.09, 3.09], abs=0.01)


def test_integers_that_floats_cannot_count_are_searched_as_if_continuous() -> None:
    spec = {"min": 0, "max": 2**60}
    assert search(a=spec).axes[0].count is None
    assert value_at(spec, 1.0) == 2**60
    assert type(value_at(spec, 0.5)) is int


NESTED = {
    "lr": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1.0},
    "fixed": {"value": "k"},
    "one": {"values": [7, 7]},
    "n": {"min": 1, "max": 9},
    "opt": {
        "parameters": {"kind": {"values": ["a", "b", "c"]}, "deep": {"parameters": {"m": {"min": 0.0, "max": 1.0}}}}
    },
    "opt.kind": {"values": [1, 2, 3]},
}


def test_constants_and_nesting_are_put_back_around_what_is_searched() -> None:
    found = search(**NESTED)
    assert [axis.dimension.name for axis in found.axes] == ["lr", "n", "opt.kind", "opt.deep.m", "opt.kind"]
    args = found.args_at((0.5, 8, 1, 0.25, 2))
    assert args == {
        "lr": {"value": pytest.approx(0.01)},
        "fixed": {"value": "k"},
        "one": {"value": 7},
        "n": {"value": 9},
        "opt": {"value": {"kind": "b", "deep": {"m": 0.25}}},
        "opt.kind": {"value": 3},
    }


@st.composite
def spaces(draw: st.DrawFn) -> tuple[BayesSearch, Point]:
    rows = draw(st.lists(st.sampled_from(SEARCHABLE), min_size=1, max_size=3))
    specs = [{"distribution": name, **keys} for name, keys, *_ in rows]
    specs.append(
        {"values": draw(st.lists(st.integers(-3, 3) | st.booleans() | st.text("ab"), min_size=1, max_size=4))}
    )
    found = search(**{f"p{i}": spec for i, spec in enumerate(specs)})
    share = st.floats(0, 1)
    point = tuple(draw(share if a.count is None else st.integers(0, a.count - 1).map(float)) for a in found.axes)
    return found, point


@given(spaces())
def test_a_run_is_found_again_by_its_arguments_after_they_went_through_json(case: tuple[BayesSearch, Point]) -> None:
    found, point = case
    args = found.args_at(point)
    again = found.point_of(json.loads(json.dumps(args)))
    assert again is not None
    # A rounded value is somewhere else on the axis, but the same arguments are there.
    assert found.args_at(again) == {
        key: {"value": pytest.approx(item["value"], rel=1e-6, abs=1e-9)} if type(item["value"]) is float else item
        for key, item in args.items()
    }


@pytest.mark.parametrize(
    "args",
    [
        {},
        {"lr": {"value": 0.1}, "kind": {}},
        {"lr": 0.1, "kind": {"value": "a"}},
        {"lr": {"value": "0.1"}, "kind": {"value": "a"}},
        {"lr": {"value": None}, "kind": {"value": "a"}},
        {"lr": {"value": True}, "kind": {"value": "a"}},
        {"lr": {"value": float("nan")}, "kind": {"value": "a"}},
        {"lr": {"value": 0.1}, "kind": {"value": "other"}},
    ],
)
def test_runs_of_another_space_are_nowhere_in_this_one(args: dict[str, Any]) -> None:
    found = search(lr={"min": 0.0, "max": 1.0}, kind={"values": ["a", "b"]})
    assert found.point_of(args) is None


def test_values_beyond_the_bounds_are_taken_for_the_bounds() -> None:
    found = search(lr={"distribution": "log_uniform_values", "min": 0.1, "max": 1.0})
    assert [found.point_of({"lr": {"value": value}}) for value in (-1, 0, 5.0)] == [(0.0,), (0.0,), (1.0,)]


def test_a_space_in_which_nothing_varies_is_refused() -> None:
    with pytest.raises(ClientError, match="needs a parameter with more than one value"):
        search(a={"value": 1}, b={"values": ["x"]}, c={"min": 3, "max": 3})


# --- objectives ---


@pytest.mark.parametrize(
    ("name", "summary", "value"),
    [
        ("loss", {"loss": 0.5}, 0.5),
        ("loss", {"loss": 3}, 3.0),
        ("val.loss", {"val.loss": 1.5, "val": {"loss": 2.5}}, 1.5),
        ("val.loss", {"val": {"loss": 2.5}}, 2.5),
        ("loss.min", {"loss": {"min": 0.25, "max": 9}}, 0.25),
        ("loss", {}, None),
        ("val.loss", {"val": 3}, None),
        ("loss", {"loss": None}, None),
        ("loss", {"loss": True}, None),
        ("loss", {"loss": "0.5"}, None),
        ("loss", {"loss": "NaN"}, None),
        ("loss", {"loss": float("nan")}, None),
        ("loss", {"loss": float("inf")}, None),
        ("loss", {"loss": 10**400}, None),
        ("loss", {"loss": {"min": 1}}, None),
    ],
)
def test_a_metric_is_read_from_the_summary_by_its_whole_or_its_nested_name(
    name: str, summary: dict[str, Any], value: float | None
) -> None:
    assert Objective(name, is_maximized=False).value(summary) == value
    assert Objective(name, is_maximized=True).value(summary) == (None if value is None else -value)


def test_a_run_has_all_objectives_or_none() -> None:
    both = BayesSearch(parse_parameters({"a": {"min": 0.0, "max": 1.0}}), (*LOSS, Objective("acc", True)), 1)
    assert both.values_in({"loss": 1, "acc": 0.5}) == (1.0, -0.5)
    assert both.values_in({"loss": 1}) is None
