"""Settings are refused by name, value and rule before anything exists."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hydra_plugins.hydra_wandb_sweeper._dispatch import LauncherTraits
from hydra_plugins.hydra_wandb_sweeper._errors import SettingError
from hydra_plugins.hydra_wandb_sweeper._plan import check_metrics, check_server_job, check_shuffle, load_yaml
from hydra_plugins.hydra_wandb_sweeper._search_space import SearchSpace
from hydra_plugins.hydra_wandb_sweeper._server import ServerRef
from hydra_plugins.hydra_wandb_sweeper._settings import Settings, check_method, parse_sweep_path, read_settings
from hydra_plugins.hydra_wandb_sweeper._sweep_config import Program, make_sweep_config
from tests.unit.sweeper.settings import make_settings, raw_settings


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("params", "lr=1,2"),
        ("method", "tpe"),
        ("metric_name", ""),
        ("metric_goal", "max"),
        ("early_terminate", {"type": "median"}),
        ("run_cap", 0),
        ("run_cap", True),
        ("seed", -1),
        ("entity", "a b"),
        ("project", "a/b"),
        ("name", " "),
        ("tags", ["a,b"]),
        ("tags", ["x" * 65]),
        ("server", "cloud"),
        ("server_job", "yes"),
        ("shuffle", "yes"),
        ("sweep_id", "a/b/c/d/e"),
        ("sweep_id", "a//b"),
        ("agents", 0),
        ("agents_per_job", 0),
        ("trials_per_agent", 0),
        ("isolation", "thread"),
        ("max_retries", -1),
        ("max_failure_rate", 1.5),
        ("max_failure_rate", float("nan")),
        ("max_consecutive_failures", 0),
        ("server_patience_min", -1),
        ("sdk_after_s", -0.5),
        ("sdk_after_s", True),
        ("sdk_after_s", float("inf")),
    ],
)
def test_a_bad_value_is_refused_with_its_field_and_the_rule(field: str, value: Any) -> None:
    with pytest.raises(SettingError) as caught:
        make_settings(**{field: value})
    message = str(caught.value)
    assert message.startswith(f"hydra.sweeper.{field.replace('metric_', 'metric.')}=")
    assert repr(value) in message
    rule = {
        "params": "must map Hydra keys to values",
        "sweep_id": "must be ID, PROJECT/ID, ENTITY/PROJECT/ID or the URL",
    }
    assert rule.get(field, "must be ") in message


@pytest.mark.parametrize(
    "section",
    [
        {"type": "hyperband", "min_iter": 3},
        {"type": "hyperband", "max_iter": 27, "s": 2, "eta": 2.5, "strict": False},
    ],
)
def test_early_termination_reaches_every_server_as_it_was_given(section: dict[str, Any]) -> None:
    settings = make_settings(early_terminate=section, metric_name="loss", metric_goal="maximize")
    config = make_sweep_config(settings, SearchSpace(()), Program("app.py"))
    assert config["early_terminate"] == section
    assert config["metric"] == {"name": "loss", "goal": "maximize"}


@pytest.mark.parametrize(
    ("changes", "field", "rule"),
    [
        ({"agents": 3, "agents_per_job": 2}, "agents", "multiple of hydra.sweeper.agents_per_job=2"),
        ({"early_terminate": {"type": "hyperband"}}, "early_terminate", r"needs hydra\.sweeper\.metric\.name, "),
        (
            {"early_terminate": {"type": "hyperband", "brackets": 3}, "metric_name": "loss"},
            "early_terminate",
            r"unknown key\(s\) brackets; hyperband takes ",
        ),
        (
            {"early_terminate": {"type": "hyperband", "min_iter": 3}, "metric_name": "loss", "isolation": "none"},
            "isolation",
            "can't stop a trial early",
        ),
        ({"sweep_id": "me/p/ab12", "entity": "you"}, "entity", "contradicts hydra.sweeper.sweep_id=me/p/ab12"),
        ({"sweep_id": "me/p/ab12", "project": "q"}, "project", "contradicts"),
        ({"sweep_file": "nowhere.yaml"}, "sweep_file", "no such file"),
    ],
)
def test_contradictions_are_refused(changes: dict[str, Any], field: str, rule: str) -> None:
    with pytest.raises(SettingError, match=rule) as caught:
        make_settings(**changes)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("server", "launcher", "rule"),
    [
        (ServerRef("wandb", "https://api.wandb.ai"), "submitit_slurm", "recorded at https://api.wandb.ai"),
        (ServerRef("local", "/p"), "joblib", "needs SLURM, but the launcher is 'joblib'"),
        (ServerRef("local", "/p"), "submitit_local", "hydra/launcher=submitit_slurm"),
    ],
)
def test_a_job_for_the_server_needs_the_embedded_server_and_slurm(
    server: ServerRef, launcher: str, rule: str
) -> None:
    with pytest.raises(SettingError, match=rule) as caught:
        check_server_job(make_settings(server_job=True), server, LauncherTraits(launcher, 1))
    assert caught.value.field == "server_job"
    check_server_job(make_settings(), server, LauncherTraits(launcher, 1))


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("ab12", (None, None, "ab12")),
        ("proj/ab12", (None, "proj", "ab12")),
        ("me/proj/ab12", ("me", "proj", "ab12")),
        ("/me/proj/ab12", ("me", "proj", "ab12")),
        ("me/proj/sweeps/ab12", ("me", "proj", "ab12")),
        ("https://wandb.ai/me/proj/sweeps/ab12", ("me", "proj", "ab12")),
        ("http://127.0.0.1:8080/me/proj/sweeps/ab12?nw=x", ("me", "proj", "ab12")),
    ],
)
def test_every_form_of_a_sweep_path_is_understood(text: str, path: tuple[Any, ...]) -> None:
    assert parse_sweep_path(text) == path


# --- sweep files ---

DOCUMENTED = """
program: train.py
method: random
metric:
  name: val_loss
  goal: maximize
name: from file
run_cap: 7
project: file-project
parameters:
  lr:
    values: [1e-3, 1e-4]
  batch_size:
    value: 128
  dropout:
    min: 0
    max: 0.8
    distribution: uniform
"""


def from_file(tmp_path: Path, text: str, **changes: Any) -> Settings:
    path = tmp_path / "sweep.yaml"
    path.write_text(text)
    raw = raw_settings(sweep_file=str(path), **changes)
    return read_settings(raw, job_name="app", load_sweep_file=load_yaml)


def test_a_sweep_file_says_what_the_settings_don_t(tmp_path: Path) -> None:
    settings = from_file(tmp_path, DOCUMENTED)
    assert (settings.method, settings.metric_name, settings.metric_goal) == ("random", "val_loss", "maximize")
    assert (settings.name, settings.run_cap, settings.project) == ("from file", 7, "file-project")
    assert settings.sweep_file_parameters["batch_size"] == {"value": 128}


TWO_METRICS = """
metrics: [{name: loss}, {name: acc, goal: maximize}]
parameters: {a: {min: 0.0, max: 1.0}}
"""


def test_of_several_metrics_the_first_says_which_trial_is_the_best(tmp_path: Path) -> None:
    settings = from_file(tmp_path, TWO_METRICS)
    assert settings.metrics == ({"name": "loss", "goal": "minimize"}, {"name": "acc", "goal": "maximize"})
    assert (settings.metric_name, settings.metric_goal, settings.metric_name_given) == ("loss", "minimize", True)
    with pytest.raises(SettingError, match=r"hydra.sweeper.metric=.*'acc'.*: the sweep file has several"):
        from_file(tmp_path, TWO_METRICS, metric_name="acc")


def test_settings_win_over_the_sweep_file(tmp_path: Path) -> None:
    settings = from_file(tmp_path, DOCUMENTED, method="bayes", metric_goal="minimize", project="mine", run_cap=2)
    assert (settings.method, settings.metric_name, settings.metric_goal) == ("bayes", "val_loss", "minimize")
    assert (settings.project, settings.run_cap) == ("mine", 2)


def test_an_exponent_without_a_point_in_a_sweep_file_is_a_number(tmp_path: Path) -> None:
    assert from_file(tmp_path, DOCUMENTED).sweep_file_parameters["lr"] == {"values": [0.001, 0.0001]}


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("method: grid", "mapping `parameters`"),
        ("[1, 2]", "mapping `parameters`"),
        ("methods: grid\nparameters: {a: {value: 1}}", r"unknown key\(s\) methods; known: "),
        ("method: tpe\nparameters: {a: {value: 1}}", "method: 'tpe' must be one of"),
        ("metric: {goal: up}\nparameters: {a: {value: 1}}", "metric.goal: 'up' must be one of"),
        ("metrics: {name: a}\nparameters: {a: {value: 1}}", "metrics: .* must be a list"),
        ("metrics: [{name: a}]\nparameters: {a: {value: 1}}", "metrics: .* at least two .* use `metric`"),
        ("metrics: [a, b]\nparameters: {a: {value: 1}}", "metrics: .* must be a list"),
        ("metrics: [{name: a}, {goal: minimize}]\nparameters: {a: {value: 1}}", r"metrics\[1\].name: '' must be"),
        ("metric: {name: a}\nmetrics: [{name: a}, {name: b}]\nparameters: {a: {value: 1}}", "one or the other"),
        (
            "metrics: [{name: a}, {name: b, goal: up}]\nparameters: {a: {value: 1}}",
            r"metrics\[1\].goal: 'up' must be",
        ),
    ],
)
def test_a_malformed_sweep_file_is_refused_by_name(tmp_path: Path, text: str, rule: str) -> None:
    with pytest.raises(SettingError, match=rule):
        from_file(tmp_path, text)


def test_project_and_name_default_to_the_job_name() -> None:
    settings = make_settings()
    assert (settings.project, settings.name) == ("app", "app")


@pytest.mark.parametrize("method", ["random", "bayes"])
def test_only_a_grid_can_be_shuffled(method: str) -> None:
    with pytest.raises(SettingError, match=f"hydra.sweeper.shuffle=True: is for a grid.*{method}"):
        check_method(method, {}, make_settings(shuffle=True, run_cap=1))


def test_only_the_embedded_server_shuffles_a_grid() -> None:
    check_shuffle(make_settings(shuffle=True), ServerRef("local", "dir"))
    check_shuffle(make_settings(shuffle=False), ServerRef("wandb", "https://api.wandb.ai"))
    with pytest.raises(SettingError, match=r"shuffle=True: .* https://api.wandb.ai, .* shuffle\(…\)"):
        check_shuffle(make_settings(shuffle=True), ServerRef("wandb", "https://api.wandb.ai"))


def test_several_metrics_are_for_bayes_on_the_embedded_server() -> None:
    local, cloud = ServerRef("local", "dir"), ServerRef("wandb", "https://api.wandb.ai")
    metrics = {"metrics": [{"name": "a"}, {"name": "b"}]}
    check_metrics({"method": "bayes", **metrics}, local)
    check_metrics({"method": "bayes", "metric": {"name": "a"}}, cloud)
    for method, server in (("random", local), ("grid", local), ("bayes", cloud)):
        with pytest.raises(SettingError, match=f"hydra.sweeper.method='{method}': has no use for .*`metrics`"):
            check_metrics({"method": method, **metrics}, server)
