"""Sweep configurations: what is taken, what is refused and with which words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from wandb_sweep_server.errors import ClientError
from wandb_sweep_server.search.bayes import BayesSearch, Objective
from wandb_sweep_server.search.external import ExternalSearch
from wandb_sweep_server.sweep_config import SweepConfig, parse_sweep_config

TWO = {"a": {"values": [1, 2]}}
UNIFORM = {"a": {"min": 0.0, "max": 1.0}}


def parse(config: Any = None, seed: int = 1, **keys: Any) -> SweepConfig:
    text = config if isinstance(config, str) else json.dumps({"method": "grid", "parameters": TWO, **keys})
    return parse_sweep_config(text, seed)


REFUSED = [
    ("a: [", "the sweep configuration is not valid YAML"),
    ("a: \x00", "the sweep configuration is not valid YAML"),
    ("a: 2025-13-45", "the sweep configuration is not valid YAML"),
    ("a: !!bool nonsense", "the sweep configuration is not valid YAML"),
    ("a: !!timestamp nonsense", "the sweep configuration is not valid YAML"),
    ("a: !!python/object/apply:os.getcwd []", "the sweep configuration is not valid YAML"),
    ("[" * 5000, "the sweep configuration is not valid YAML"),
    ("", "must be a mapping, not NoneType"),
    ("- 1", "must be a mapping, not list"),
    ("hello", "must be a mapping, not str"),
    ("parameters: {a: {value: 1}}", "method = None does not exist; methods are grid, random, bayes, custom"),
    ("{method: Grid, parameters: {a: {value: 1}}}", "method = 'Grid' does not exist"),
    ("{method: custom, parameters: {a: {value: 1}}}", "method = 'custom' is not available in this server"),
    ("{method: bayes, parameters: {a: {min: 0.0, max: 1.0}}}", "method = 'bayes' needs a metric"),
    ("{method: bayes, metric: {name: m}, parameters: {a: {value: 1}}}", "needs a parameter with more than one value"),
    *[
        (f"{{method: bayes, {metric}, parameters: {{a: {{min: 0.0, max: 1.0}}}}}}", message)
        for metric, message in (
            ("metric: loss", "metric = 'loss' must have a name"),
            ("metric: {goal: minimize}", "metric = .* must have a name"),
            ("metric: {name: 3}", "metric = .* must have a name"),
            ("metric: {name: m, goal: lower}", "metric.goal = 'lower' must be minimize or maximize"),
            ("metrics: {name: m}", "metrics = .* must be a list"),
            ("metrics: []", r"metrics = \[\] must be a list of at least two"),
            ("metrics: [{name: m}]", "at least two .* for one use metric"),
            ("metric: {name: m}, metrics: [{name: m}, {name: n}]", "can't be used together with metrics"),
            ("metrics: [{name: m}, m]", r"metrics\[1\] = 'm' must have a name"),
            ("metrics: [{name: m}, {name: n, goal: up}]", r"metrics\[1\].goal = 'up' must be"),
            ("metrics: [{name: m}, {name: m, goal: maximize}]", "metrics: 'm' is there 2 times"),
        )
    ],
    ("method: grid", "parameters = None must be a mapping"),
    ("{method: grid, parameters: {}}", "parameters = {} must be a mapping"),
    ("{method: random, parameters: [a]}", r"parameters = \['a'\] must be a mapping"),
    ("{method: grid, parameters: {a: {min: 0.0, max: 1.0}}}", r"'a' \(uniform\) cannot be searched by a grid"),
    ("{method: random, parameters: {a: {min: 1e-3, max: 1}}}", r"min = '1e-3' .* write 1.0e-3"),
    ("{method: grid, parameters: {a: {values: [2025-01-02]}}}", "'a': values must be JSON"),
    ("{method: grid, parameters: &p {a: {parameters: *p}}}", "values must be JSON"),
    ("{method: grid, controller: {type: local}, parameters: {a: {value: 1}}}", "controller.type = 'local'"),
    *[
        (f"{{method: grid, run_cap: {cap}, parameters: {{a: {{value: 1}}}}}}", "run_cap = .* must be an integer")
        for cap in ("0", "-1", "1.5", "true", "'3'", "[]")
    ],
]


@pytest.mark.parametrize(("text", "message"), REFUSED, ids=[text[:50] for text, _ in REFUSED])
def test_a_wrong_configuration_is_refused_with_key_value_and_rule(text: str, message: str) -> None:
    with pytest.raises(ClientError, match=message):
        parse(text)


def test_yaml_and_json_are_read_alike() -> None:
    yaml_text = (
        "method: grid\nparameters:\n  a:\n    values:\n    - 1\n    - 2\nprogram: t.py\nname: n\ndescription: 7\n"
    )
    for config in (parse(yaml_text), parse(program="t.py", name="n", description=7)):
        assert (config.method, config.program, config.name, config.description) == ("grid", "t.py", "n", "7")
        assert [config.search.args(i) for i in range(2)] == [{"a": {"value": 1}}, {"a": {"value": 2}}]
        assert config.parameters == TWO
        assert config.warnings == ()


def test_what_is_not_said_is_none() -> None:
    config = parse()
    assert (config.program, config.name, config.description, config.run_cap) == (None, None, None, None)


@pytest.mark.parametrize(
    ("keys", "count"),
    [
        ({}, 2),
        ({"run_cap": 1}, 1),
        ({"run_cap": 5}, 2),
        ({"run_cap": None}, 2),
        ({"method": "random"}, None),
        ({"method": "random", "run_cap": 7}, 7),
        ({"scheduler": {"engine": "optuna"}}, None),
        ({"scheduler": {"engine": "optuna"}, "run_cap": 4}, 4),
    ],
)
def test_the_number_of_trials_is_the_smaller_of_grid_and_cap(keys: dict[str, Any], count: int | None) -> None:
    assert parse(**keys).trial_count == count


@pytest.mark.parametrize(
    ("command", "same_as_seed"),
    [
        (["python", "--seed=5"], 5),
        (["--seed=-3", "${args}"], -3),
        (["--seed=5", "--seed=6"], 5),
        (["--seed", "5"], 1),
        (["--seed=x", "--seeds=5", "--seed=5.0", "a--seed=5"], 1),
        ([7, None, "--seed=5"], 5),
        ("--seed=5", 1),
        (None, 1),
    ],
)
def test_a_seed_in_the_command_outranks_the_one_of_the_server(command: Any, same_as_seed: int) -> None:
    config = parse(method="random", parameters=UNIFORM, command=command, seed=1)
    expected = parse(method="random", parameters=UNIFORM, seed=same_as_seed)
    assert [config.search.args(i) for i in range(5)] == [expected.search.args(i) for i in range(5)]


@pytest.mark.parametrize("method", ["bayes", "custom", "grid", None])
def test_a_scheduler_chooses_whatever_the_method_is_called(method: str | None) -> None:
    config = parse(method=method, parameters={"a": {"min": 0.0, "max": 1.0}}, scheduler={"engine": "wandb"})
    assert isinstance(config.search, ExternalSearch)
    assert config.search.args(0) is None


def test_the_objectives_of_bayes_are_its_metrics_or_its_metric() -> None:
    one = parse(method="bayes", parameters=UNIFORM, metric={"name": "loss"})
    two = parse(
        method="bayes",
        parameters=UNIFORM,
        metrics=[{"name": "loss"}, {"name": "acc", "goal": "maximize"}],
    )
    assert isinstance(one.search, BayesSearch)
    assert isinstance(two.search, BayesSearch)
    assert one.search.objectives == (Objective("loss", is_maximized=False),)
    assert two.search.objectives == (*one.search.objectives, Objective("acc", is_maximized=True))
    assert (one.trial_count, one.warnings, two.warnings) == (None, (), ())


@pytest.mark.parametrize(
    ("keys", "warned"),
    [
        ({}, []),
        ({"impute": "worst", "impute_while_running": "false"}, []),
        ({"impute": "best"}, ["impute"]),
        ({"impute": "latest", "impute_while_running": "latest"}, ["impute", "impute_while_running"]),
    ],
)
def test_what_bayes_has_no_use_for_in_a_metric_is_told_in_warnings(keys: dict[str, Any], warned: list[str]) -> None:
    warnings = parse(method="bayes", parameters=UNIFORM, metric={"name": "loss", **keys}).warnings
    assert [warning.split(" ")[0] for warning in warnings] == [f"'metric.{key}'" for key in warned]


def test_keys_without_effect_are_told_in_warnings() -> None:
    early_terminate = {"type": "hyperband", "min_iter": 3, "s": 2}
    config = parse(early_terminate=early_terminate, metric={"name": "loss"}, zeta=1, Alpha=2, project="p", kind=None)
    assert config.warnings == (
        "'Alpha' is not a key of sweep configurations",
        "'zeta' is not a key of sweep configurations",
        "'early_terminate.s' has no effect without max_iter",
    )


@pytest.mark.parametrize(
    ("command", "is_shuffled"),
    [
        (["--shuffle"], True),
        (["--shuffle", "--seed=4"], True),
        (["a--shuffle", "--shuffle=no", 3], False),
        (None, False),
    ],
)
def test_a_word_in_the_command_shuffles_a_grid(command: Any, is_shuffled: bool) -> None:
    parameters = {"a": {"values": list(range(100))}}
    search = parse(method="grid", parameters=parameters, command=command).search
    values = [(search.args(index) or {})["a"]["value"] for index in range(100)]
    assert (values != list(range(100))) == is_shuffled
    assert sorted(values) == list(range(100))


def test_early_termination_is_checked_and_left_to_a_scheduler_that_there_is() -> None:
    wrong = {"early_terminate": {"type": "median"}, "metric": {"name": "loss"}}
    with pytest.raises(ClientError, match="type = 'median' does not exist"):
        parse(**wrong)
    assert parse(**wrong, scheduler={"engine": "optuna"}).early_stop is None
    right = parse(early_terminate={"type": "hyperband", "min_iter": 3}, metric={"name": "loss"})
    assert right.early_stop is not None
    assert right.early_stop.brackets[:2] == (3, 9)
