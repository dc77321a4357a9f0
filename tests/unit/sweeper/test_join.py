"""What may be said beside the id of a sweep: what it says too, and keys that it doesn't sweep."""

from __future__ import annotations

import random
from typing import Any

import pytest
import yaml

from hydra_plugins.hydra_wandb_sweeper._errors import SettingError
from hydra_plugins.hydra_wandb_sweeper._join import fixed_overrides
from hydra_plugins.hydra_wandb_sweeper._sweep_config import make_sweep_config, to_yaml
from tests.unit.sweeper.conftest import HydraApp
from tests.unit.sweeper.settings import make_settings
from tests.unit.sweeper.test_search_space import PROGRAM, build, like_javascript

# As a server gives them back.
FOREIGN: dict[str, Any] = {
    "method": "random",
    "metric": {"name": "loss", "goal": "maximize"},
    "run_cap": 9,
    "parameters": {
        "x": {"values": [1, 2, 3]},
        "lr": {"min": 0.1, "max": 1, "distribution": "uniform"},
        "y": {"value": "a"},
        "n": {"values": [1, 2], "probabilities": [0.25, 0.75]},
    },
}


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("x=3,1,2",),
        ("x=range(1,4)", "lr=interval(0.1,1.0)", "y=a"),
    ],
)
def test_what_the_sweep_says_too_may_be_repeated(app: HydraApp, arguments: tuple[str, ...]) -> None:
    settings = make_settings(method="random", metric_name="loss", metric_goal="maximize", run_cap=9)
    assert fixed_overrides(settings, build(app, *arguments), FOREIGN) == []


@pytest.mark.parametrize("as_server", [lambda config: config, like_javascript], ids=["as written", "as JavaScript"])
@pytest.mark.parametrize(
    "arguments",
    [
        ("x=1,2", "y='a b'", "+new=1,1.0,'1',null"),
        ("x=shuffle(range(10))", "~n"),
        ("lr=tag(log,interval(1e-5,1e-1))", "db=glob(*)", "server@srv=nginx,apache"),
        ("x=int(interval(1,10))",),
        (),
    ],
)
def test_the_command_that_made_a_sweep_may_be_repeated(
    app: HydraApp, arguments: tuple[str, ...], as_server: Any
) -> None:
    settings = make_settings(run_cap=5, seed=random.randrange(9))
    made = make_sweep_config(settings, build(app, *arguments), PROGRAM)
    config = as_server(yaml.safe_load(to_yaml(made)))
    again = build(app, *arguments, seed=None)
    assert fixed_overrides(make_settings(run_cap=5), again, config) == []


def test_other_keys_are_fixed_for_all_trials(app: HydraApp) -> None:
    space = build(app, "x=1,2,3", "+extra='a b'", "model=wide", "~n")
    assert fixed_overrides(make_settings(), space, FOREIGN) == ["+extra='a b'", "model=wide", "~n=null"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("x=1,2",), "x=1,2': an existing sweep decides what is swept, and this one has 1,2,3"),
        (("x=7",), "this one has 1,2,3"),
        (("y=b",), "this one has a"),
        (("lr=interval(0,1)",), "an existing sweep decides"),
        (("n=1,2",), "an existing sweep decides"),
        (("model=small,wide",), "fix other keys only"),
    ],
)
def test_another_search_than_the_sweep_s_is_refused(app: HydraApp, arguments: tuple[str, ...], words: str) -> None:
    with pytest.raises(SettingError, match=words):
        fixed_overrides(make_settings(), build(app, *arguments), FOREIGN)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"method": "grid"}, "method"),
        ({"metric_name": "objective"}, "metric.name"),
        ({"metric_name": "loss", "metric_goal": "minimize"}, "metric.goal"),
        ({"run_cap": 3}, "run_cap"),
        ({"metric_name": "loss", "metric_goal": "maximize", "early_terminate": {"type": "hyperband", "min_iter": 3}},
         "early_terminate"),
    ],
)  # fmt: skip
def test_settings_that_contradict_the_sweep_are_refused(app: HydraApp, changes: dict[str, Any], field: str) -> None:
    with pytest.raises(SettingError, match="contradicts the sweep") as caught:
        fixed_overrides(make_settings(**changes), build(app), FOREIGN)
    assert caught.value.field == field


def test_a_sweep_without_a_metric_takes_the_command_s(app: HydraApp) -> None:
    config = {"method": "grid", "parameters": {"x": {"values": [1]}}}
    settings = make_settings(metric_name="loss", metric_goal="maximize")
    assert fixed_overrides(settings, build(app), config) == []


def test_trials_of_a_sweep_that_stops_some_early_need_a_process_of_their_own(app: HydraApp) -> None:
    config = {**FOREIGN, "early_terminate": {"type": "hyperband", "min_iter": 3}}
    with pytest.raises(SettingError, match="can't stop a trial early"):
        fixed_overrides(make_settings(isolation="none"), build(app), config)
    assert fixed_overrides(make_settings(isolation="spawn"), build(app), config) == []
