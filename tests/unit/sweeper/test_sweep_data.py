"""Sweep data: columns of equal length, typed values, and nothing that JSON can't say."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_plugins.hydra_wandb_sweeper._client import SweepRef
from hydra_plugins.hydra_wandb_sweeper._sweep_data import RunEntry, SweepEntry, sweep_data
from hydra_plugins.hydra_wandb_sweeper._timeline import AgentSpan, Assignment

SWEEP = SweepEntry(
    ref=SweepRef("local", "app", "ab12"),
    name="my sweep",
    description=None,
    url="http://127.0.0.1/x",
    state="RUNNING",
    method="grid",
    created_at=1.0,
    metric_name="loss",
    metric_goal="minimize",
    expected=4,
    config={"parameters": {"lr": {"values": [0.1, 0.2]}, "opt": {"parameters": {"m": {"values": ["a"]}}}}},
)
RUN = RunEntry("r0", "0: lr=0.1", "finished", 1.0, 2.0, 1.0, "h", "agent-0", None)
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers() | st.text())
)
RUNS = st.lists(
    st.builds(
        RunEntry,
        run_id=st.text(),
        name=st.text(),
        state=st.sampled_from(["finished", "failed", "running"]),
        began_at=st.none() | st.floats(0, 1e9),
        ended_at=st.none() | st.floats(0, 1e9),
        duration_s=st.none() | st.floats(0, 1e9),
        host=st.none() | st.text(),
        agent=st.none() | st.text(),
        reason=st.none() | st.text(),
        parameters=st.dictionaries(st.sampled_from(["lr", "n", "model"]), VALUES),
        metrics=st.dictionaries(st.sampled_from(["loss", "acc"]), st.floats() | st.integers()),
    ),
    max_size=6,
)


def data_of(*parameters: dict[str, Any], metrics: list[dict[str, float]] | None = None, **sweep: Any) -> Any:
    found = metrics or [{} for _ in parameters]
    runs = [replace(RUN, parameters=p, metrics=m) for p, m in zip(parameters, found, strict=True)]
    return sweep_data(replace(SWEEP, **sweep), runs, (), now=3.0)


@pytest.mark.parametrize(
    ("spec", "values", "described", "column"),
    [
        pytest.param({}, [0.1, 0.2], ("number", "linear"), [0.1, 0.2], id="numbers"),
        pytest.param({}, [1e-4, 1.0], ("number", "log"), [1e-4, 1.0], id="more than two orders of magnitude"),
        pytest.param({}, [0, 1000], ("number", "linear"), [0, 1000], id="zero has no logarithm"),
        pytest.param(
            {"distribution": "log_uniform_values", "min": 1}, [1, 2], ("number", "log"), [1, 2], id="log distribution"
        ),
        pytest.param({"min": 0, "max": 9}, [0.01, 9], ("number", "linear"), [0.01, 9], id="uniform distribution"),
        pytest.param({}, [1, None, 2], ("number", "linear"), [1, None, 2], id="absent in a run"),
        pytest.param({}, [1, math.inf], ("number", "linear"), [1, None], id="not finite"),
        pytest.param({}, ["mlp", "cnn"], ("category", "linear"), ["mlp", "cnn"], id="texts"),
        pytest.param({}, [True, False], ("category", "linear"), ["true", "false"], id="booleans"),
        pytest.param({}, [1, "auto"], ("category", "linear"), ["1", "auto"], id="numbers and texts"),
        pytest.param({}, [[1, 2], {"a": 1}], ("category", "linear"), ["[1,2]", "{a:1}"], id="lists and mappings"),
    ],
)
def test_a_parameter_is_of_numbers_or_a_category(
    spec: dict[str, Any], values: list[Any], described: tuple[str, str], column: list[Any]
) -> None:
    data = data_of(*({"lr": value} for value in values), config={"parameters": {"lr": spec}})
    assert data["parameters"] == [{"name": "lr", "kind": described[0], "scale": described[1]}]
    assert data["runs"]["parameters"] == {"lr": column}


def test_parameters_stand_in_the_order_of_the_config_and_constants_are_left_out() -> None:
    config = {"parameters": {"b": {"values": [1]}, "c": {"value": 7}, "a": {"parameters": {"x": {"values": [1]}}}}}
    assert [p["name"] for p in data_of({"a.x": 1, "b": 2, "more": 3}, config=config)["parameters"]] == [
        "b",
        "a.x",
        "more",
    ]
    assert [p["name"] for p in data_of(config=config)["parameters"]] == ["b", "a.x"], "before the first run"


def test_the_sweep_s_metric_comes_first_and_what_isn_t_finite_is_absent() -> None:
    metrics: list[dict[str, float]] = [{"acc": 1.0}, {"acc": math.nan, "loss": 0.5}]
    assert list(data_of({}, {}, metrics=metrics)["runs"]["metrics"].items()) == [
        ("loss", [None, 0.5]),
        ("acc", [1.0, None]),
    ]


def test_only_finished_runs_say_what_is_important() -> None:
    runs = [replace(RUN, parameters={"lr": x, "seed": x % 2}, metrics={"loss": float(x)}) for x in range(10)]
    found, _ = sweep_data(SWEEP, runs, (), now=3.0)["importance"]
    assert (found["name"], found["importance"], found["correlation"]) == ("lr", pytest.approx(1), pytest.approx(1))
    failed = [replace(run, state="failed") for run in runs]
    for data in (
        sweep_data(SWEEP, failed, (), now=3.0),
        sweep_data(replace(SWEEP, metric_name="other"), runs, (), now=3.0),
    ):
        assert data["importance"] == []
        assert (
            data["importance_note"]
            == "Too few finished trials have the metric to tell what matters: 0 of at least 10."
        )


def test_agents_have_their_trials() -> None:
    span = AgentSpan("agent-0", "h", 1.0, 9.0, "died", [Assignment("r0", "agent-0", 2.0, 3.0, "lost")], job="12_3")
    assert sweep_data(SWEEP, [RUN], [span], now=3.0)["agents"] == [
        {
            "name": "agent-0",
            "host": "h",
            "job": "12_3",
            "began_at": 1.0,
            "ended_at": 9.0,
            "ended": "died",
            "trials": [{"run": "r0", "began_at": 2.0, "ended_at": 3.0, "how": "lost"}],
        }
    ]


@given(RUNS)
def test_whatever_the_runs_are_the_data_is_json_with_columns_of_equal_length(runs: list[RunEntry]) -> None:
    data = sweep_data(SWEEP, runs, (), now=3.0)
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    columns = dict(data["runs"])
    parameters, metrics = columns.pop("parameters"), columns.pop("metrics")
    for column in (*columns.values(), *parameters.values(), *metrics.values()):
        assert len(column) == len(runs)
    assert {p["name"] for p in data["parameters"]} == set(parameters)
    for described in data["parameters"]:
        kinds = {type(value) for value in parameters[described["name"]]} - {type(None)}
        assert kinds <= ({int, float} if described["kind"] == "number" else {str})
