"""Sweep data: what is in the database, by column."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.browser import sweeps
from tests.unit.server.asgi import App
from tests.unit.server.pages import data_path, finish_trial
from tests.unit.server.support import Server
from tests.unit.server.test_growth import steps_of
from wandb_sweep_server.importance import is_finite
from wandb_sweep_server.pages.metrics import MOST_METRICS, metric_columns, numbers_in
from wandb_sweep_server.pages.parameters import swept_parameters
from wandb_sweep_server.pages.run_facts import reason_of, times_of
from wandb_sweep_server.pages.sweep_data import metric_of, sweep_data
from wandb_sweep_server.pages.sweep_rows import whole_sweep
from wandb_sweep_server.records import Sweep
from wandb_sweep_server.sweeps import SweepChange

# --- metrics ---


@pytest.mark.parametrize(
    ("summary", "numbers"),
    [
        ({}, {}),
        ({"loss": 0.5, "n": 3}, {"loss": 0.5, "n": 3}),
        ({"a": "0.5", "b": None, "c": True, "d": [1], "e": "NaN", "f": float("inf"), "g": float("nan")}, {}),
        ({"big": 10**400, "large": 10**30}, {"large": 10**30}),
        ({"val": {"loss": 1.0, "top": {"k": 2}}}, {"val.loss": 1.0, "val.top.k": 2}),
        ({"val": {"loss": 1.0}, "val.loss": 2.0}, {"val.loss": 2.0}),
        ({"_runtime": 3, "_step": 1, "_wandb": {"runtime": 3}, "val": {"_x": 1}}, {"val._x": 1}),
        ({"image": {"_type": "image-file", "width": 3}, "a": {"b": {"_type": "table-file", "nrows": 1}}}, {}),
        ({"": 1.0, "ünd/ß": 2.0}, {"": 1.0, "ünd/ß": 2.0}),
    ],
)
def test_finite_numbers_of_a_summary_are_metrics(summary: dict[str, Any], numbers: dict[str, float]) -> None:
    assert numbers_in(summary) == numbers


def test_a_summary_may_be_as_deep_as_json_may() -> None:
    deep: dict[str, Any] = {"x": 1.0}
    for _ in range(5_000):
        deep = {"a": deep}
    assert list(numbers_in(deep).values()) == [1.0]


rows_of_numbers = st.lists(
    st.dictionaries(st.text(max_size=3), st.floats(allow_nan=False, allow_infinity=False) | st.integers())
)


@given(rows=rows_of_numbers, own=st.none() | st.text(max_size=3))
def test_columns_hold_what_the_rows_do(rows: list[dict[str, float]], own: str | None) -> None:
    columns = metric_columns(rows, own)
    assert all(len(column) == len(rows) for column in columns.values())
    for at, row in enumerate(rows):
        assert {name: column[at] for name, column in columns.items() if column[at] is not None} == row


def test_there_are_two_hundred_columns_at_most_and_the_sweep_s_own_is_one() -> None:
    rows = [{f"m{number}": 1.0} for number in range(500)] + [{"loss": 2.0}]
    columns = metric_columns(rows, "loss")
    assert len(columns) == MOST_METRICS
    assert list(columns)[:2] == ["loss", "m0"]
    assert columns["loss"] == [None] * 500 + [2.0]


# --- parameters ---


@pytest.mark.parametrize(
    ("spec", "shown"),
    [
        ({"value": 3}, None),
        ({"values": [3]}, None),
        ({"values": [3, 3]}, None),
        ({"values": [1, 1.0]}, ("number", "linear")),
        ({"values": [1, 2]}, ("number", "linear")),
        ({"values": [0.001, 0.1]}, ("number", "linear")),
        ({"values": [0.001, 0.2]}, ("number", "log")),
        ({"values": [0, 1000]}, ("number", "linear")),
        ({"values": [-1000, 1000]}, ("number", "linear")),
        ({"values": ["a", "b"]}, ("category", "linear")),
        ({"values": [1, "b"]}, ("category", "linear")),
        ({"values": [True, False]}, ("category", "linear")),
        ({"values": [None, 1]}, ("category", "linear")),
        ({"values": [[1], [2]]}, ("category", "linear")),
        ({"values": ["a", "b"], "probabilities": [0.1, 0.9]}, ("category", "linear")),
        ({"min": 1, "max": 1000}, ("number", "linear")),
        ({"min": 0.0, "max": 1.0, "distribution": "uniform"}, ("number", "linear")),
        ({"min": 1e-5, "max": 0.1, "distribution": "log_uniform_values"}, ("number", "log")),
        ({"min": 1, "max": 9, "distribution": "q_log_uniform_values"}, ("number", "log")),
        ({"mu": 0, "sigma": 1, "distribution": "normal"}, ("number", "linear")),
        ({"mu": 0, "sigma": 1, "distribution": "log_normal"}, ("number", "log")),
        ("nonsense", None),
    ],
)
def test_parameters_are_told_by_kind_and_scale(spec: Any, shown: tuple[str, str] | None) -> None:
    found = [parameter.to_json() for parameter in swept_parameters({"p": spec})]
    assert [(one["kind"], one["scale"]) for one in found] == ([] if shown is None else [shown])


@pytest.mark.parametrize("parameters", [None, [], "x", {}, {"p": None}])
def test_what_a_scheduler_writes_there_may_be_anything(parameters: Any) -> None:
    assert swept_parameters(parameters) == []


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        ({"a": {"value": {"b": {"c": 1}}}}, 1),
        ({"a": {"value": {"b": {"c": "text"}}}}, "text"),
        ({"a": {"value": {"b": {"c": None}}}}, "null"),
        ({"a": {"value": {"b": {"c": True}}}}, "true"),
        ({"a": {"value": {"b": {"c": [1, "x"]}}}}, '[1,"x"]'),
        ({"a": {"value": {"b": {"c": "NaN"}}}}, "NaN"),
        ({"a": {"value": {"b": {}}}}, None),
        ({"a": {"value": {"b": 1}}}, None),
        ({"a": {"value": None}}, None),
        ({"a": 1}, None),
        ({}, None),
    ],
)
def test_values_are_numbers_or_texts_nested_ones_too(arguments: dict[str, Any], value: Any) -> None:
    (parameter,) = swept_parameters({"a": {"parameters": {"b": {"parameters": {"c": {"values": [1, 2]}}}}}})
    assert parameter.name == "a.b.c"
    assert parameter.value_in(arguments) == value


@pytest.mark.parametrize(
    ("config", "metric"),
    [
        ({}, None),
        ({"metric": {"name": "loss"}}, {"name": "loss", "goal": "minimize"}),
        ({"metric": {"name": "acc", "goal": "maximize"}}, {"name": "acc", "goal": "maximize"}),
        ({"metrics": [{"name": "a"}, {"name": "b"}]}, {"name": "a", "goal": "minimize"}),
        ({"metric": "loss"}, None),
        ({"metric": {"name": 3}}, None),
    ],
)
def test_the_metric_of_a_sweep(config: dict[str, Any], metric: dict[str, str] | None) -> None:
    assert metric_of(config) == metric


# --- one run ---

RUN = {"state": "finished", "queued_at": None, "created_at": 100.0, "heartbeat_at": 160.0}


@pytest.mark.parametrize(
    ("run", "assignments", "times"),
    [
        ({}, [], (100.0, 160.0, 60.0)),
        ({"state": "running"}, [], (100.0, None, 900.0)),
        ({}, [(110.0, 150.0)], (110.0, 150.0, 40.0)),
        ({"state": "running"}, [(110.0, None)], (110.0, None, 890.0)),
        ({"state": "running"}, [(110.0, 150.0), (900.0, None)], (110.0, None, 140.0)),
        ({"state": "crashed", "queued_at": 1.0}, [(110.0, 150.0)], (110.0, None, 40.0)),
        ({}, [(110.0, 90.0)], (110.0, 90.0, 0.0)),  # somebody set the clock back
    ],
)
def test_when_a_run_was_worked_on(
    run: dict[str, Any], assignments: list[tuple[float, float | None]], times: tuple[float, float | None, float]
) -> None:
    held = [{"began_at": began, "ended_at": ended} for began, ended in assignments]
    assert tuple(vars(times_of({**RUN, **run}, held, 1000.0)).values()) == times


@pytest.mark.parametrize(
    ("run", "summary", "reason"),
    [
        ({"state": "finished"}, {}, None),
        ({"state": "running", "stop_reason": "hyperband"}, {}, "hyperband"),
        ({"state": "failed", "exit_code": 3}, {}, "exit code 3"),
        ({"state": "failed", "exit_code": 1}, {"trial_error": "ValueError: x"}, "ValueError: x"),
        ({"state": "finished"}, {"trial_error": "of an earlier attempt"}, None),
        ({"state": "failed", "exit_code": 1}, {"trial_error": None}, "exit code 1"),
        ({"state": "failed"}, {}, None),
        ({"state": "crashed"}, {}, "its process fell silent, or its agent lost it"),
        ({"state": "killed"}, {}, "it was stopped by hand, or with its sweep"),
        ({"state": "killed", "stop_reason": "hyperband"}, {"trial_error": "y"}, "hyperband"),
    ],
)
def test_why_a_run_failed_or_was_stopped(run: dict[str, Any], summary: dict[str, Any], reason: str | None) -> None:
    assert reason_of({"stop_reason": None, "exit_code": None, **run}, summary) == reason


# --- all of a sweep ---


@pytest.fixture
def app(server: Server) -> Iterator[App]:
    app = App(server)
    yield app
    app.close()


def whole(app: App, sweep: Sweep) -> dict[str, Any]:
    data: dict[str, Any] = app.ask("GET", data_path(sweep)).json()
    return data


def test_a_sweep_is_told_as_the_contract_has_it(server: Server, app: App) -> None:
    metric = {"name": "loss", "goal": "minimize"}
    sweep = server.sweep({"lr": {"values": [0.001, 1.0]}, "c": {"value": 3}}, metric=metric, name="mine")
    agent = server.agent(sweep)
    began = server.time.now_s
    server.time.pass_s(10)
    run = server.claim(agent)
    server.start(run, sweep, host="node9")
    server.time.pass_s(30)
    server.post(run, {"files": {"wandb-summary.json": {"content": ['{"loss": 0.5}']}}, "complete": True})
    server.time.pass_s(5)
    data = whole(app, sweep)
    assert isinstance(data.pop("revision"), int)
    assert data == {
        "sweep": {
            "entity": "local",
            "project": "p",
            "id": sweep.name,
            "name": "mine",
            "description": None,
            "url": f"http://h/local/p/sweeps/{sweep.name}",
            "state": "RUNNING",
            "method": "grid",
            "created_at": began,
            "now": began + 45,
            "metric": metric,
            "expected": 2,
            "config": json.loads(server.config_text(sweep)),
        },
        "parameters": [{"name": "lr", "kind": "number", "scale": "log"}],
        "runs": {
            "id": [run],
            "name": [run],
            "state": ["finished"],
            "began_at": [began + 10],
            "ended_at": [began + 40],
            "duration_s": [30.0],
            "host": ["node9"],
            "agent": [agent.name],
            "reason": [None],
            "parameters": {"lr": [0.001]},
            "metrics": {"loss": [0.5]},
        },
        "importance": [],
        "importance_by": "rank correlation",
        "importance_note": "Too few finished trials have the metric to tell what matters: 1 of at least 10.",
        "agents": [
            {
                "name": agent.name,
                "host": "node1",
                "job": None,
                "began_at": began,
                "ended_at": None,
                "ended": None,
                "trials": [{"run": run, "began_at": began + 10, "ended_at": began + 40, "how": "finished"}],
            }
        ],
    }


def test_what_pages_are_tested_with_has_the_names_that_the_server_gives(server: Server, app: App) -> None:
    sweep = server.sweep({"a": {"values": [1, 2]}}, metric={"name": "loss", "goal": "minimize"})
    server.start(server.claim(server.agent(sweep)), sweep)
    real, made_up = whole(app, sweep), sweeps.sweep_data()
    assert set(made_up) == set(real)
    for of in ("sweep", "runs"):
        assert set(made_up[of]) == set(real[of])
    for of in ("parameters", "agents"):
        assert set(made_up[of][0]) == set(real[of][0])
    assert set(made_up["agents"][0]["trials"][0]) == set(real["agents"][0]["trials"][0])


def test_a_sweep_without_runs_and_metric_has_empty_columns(server: Server, app: App) -> None:
    data = whole(app, server.sweep())
    assert data["sweep"]["metric"] is None
    assert data["runs"]["id"] == [] == data["agents"]
    assert data["runs"]["parameters"] == {"a": [], "b": []}
    assert data["runs"]["metrics"] == {}


def test_a_run_that_no_agent_began_has_its_values_from_its_config(server: Server, app: App) -> None:
    sweep = server.sweep()
    server.start("r", sweep, config={"a": {"value": 2}})
    runs = whole(app, sweep)["runs"]
    assert runs["parameters"] == {"a": [2], "b": [None]}
    assert runs["agent"] == [None]


@pytest.mark.parametrize("text", ["2020-01-01", ".nan", ".inf", "{2020-01-01: 1}", "!!binary aGk="])
def test_a_configuration_may_hold_what_only_yaml_has(server: Server, app: App, text: str) -> None:
    sweep = server.sweep()
    config = f"{{method: grid, parameters: {{a: {{values: [1, 2]}}}}, description: x, controller: {{odd: {text}}}}}"
    server.do(lambda: server.store.sweeps.change(sweep, SweepChange(config=config)))
    assert "odd" in whole(app, sweep)["sweep"]["config"]["controller"]


def test_a_parameter_with_more_values_than_a_number_can_count_has_no_end(server: Server, app: App) -> None:
    many = {f"p{number}": {"values": list(range(1000))} for number in range(6)}
    assert whole(app, server.sweep(many))["sweep"]["expected"] is None


summaries = st.dictionaries(
    st.sampled_from(["loss", "a.b", "x"]),
    st.none() | st.text(max_size=2) | st.floats() | st.integers() | st.booleans() | st.just({"deep": 1.5}),
    max_size=3,
)


@given(data=st.lists(st.tuples(summaries, st.sampled_from([0, 1, None]), st.text(max_size=5)), max_size=6))
@settings(max_examples=25, suppress_health_check=list(HealthCheck))
def test_columns_say_what_the_database_says(
    tmp_path_factory: pytest.TempPathFactory, data: list[tuple[dict[str, Any], int | None, str]]
) -> None:
    server = Server(tmp_path_factory.mktemp("store"))
    sweep = server.sweep({"a": {"values": list(range(10))}}, metric={"name": "loss"})
    for summary, exit_code, name in data:
        run = server.claim(server.agent(sweep))
        server.start(run, sweep, display_name=name)
        text = json.dumps(summary)  # with bare NaN, as the SDK sends it
        message: dict[str, Any] = {"files": {"wandb-summary.json": {"content": [text]}}}
        if exit_code is not None:
            message |= {"complete": True, "exitcode": exit_code}
        server.post(run, message)
    store, project = server.store, server.project_row()
    rows = whole_sweep(store.database, project, sweep, store.sweeps.config(sweep), server.time.now_s)
    columns = sweep_data(rows, "http://h")["runs"]
    stored = server.runs()
    assert columns["id"] == [run.name for run in stored]
    assert columns["name"] == [run.display_name or run.name for run in stored]
    assert columns["state"] == [run.state for run in stored]
    assert columns["parameters"]["a"] == [json.loads(run.args or "")["a"]["value"] for run in stored]
    for at, (summary, _, _) in enumerate(data):
        expected = {key: value for key, value in summary.items() if is_finite(value)}
        expected |= {f"{key}.deep": 1.5 for key, value in summary.items() if isinstance(value, dict)}
        found = {key: column[at] for key, column in columns["metrics"].items() if column[at] is not None}
        assert found == expected
    server.store.close()


def test_sweep_data_takes_steps_by_the_number_of_runs_and_no_more(tmp_path: Path) -> None:
    steps = []
    for count in (200, 4_000):
        directory = tmp_path / str(count)
        directory.mkdir()
        server = Server(directory)
        sweep = server.sweep({"a": {"values": list(range(5_000))}}, metric={"name": "loss"})
        server.do(lambda server=server, sweep=sweep, count=count: fill(server, sweep, count))
        store, project = server.store, server.project_row()
        config = store.sweeps.config(sweep)

        def read(store: Any = store, project: Any = project, sweep: Sweep = sweep, config: Any = config) -> Any:
            return whole_sweep(store.database, project, sweep, config, 0.0)

        steps.append(steps_of(server, read))
        data = sweep_data(read(), "")
        assert len(data["runs"]["metrics"]["loss"]) == count
        assert sum(len(agent["trials"]) for agent in data["agents"]) == count
        server.store.close()
    few, many = steps
    assert many <= few * 25


def fill(server: Server, sweep: Sweep, count: int) -> None:
    """A sweep with so many runs that have finished, of 80 agents."""
    store, project = server.store, server.project_row()
    agents = [store.agents.register(server.sweep_now(sweep), "node") for _ in range(80)]
    for number in range(count):
        text = json.dumps({"a": {"value": number}})
        summary = json.dumps({"loss": number / 3, **{f"m{i}": i * number for i in range(8)}})
        columns = {"args": text, "config": text, "summary": summary, "agent_id": agents[number % 80].id}
        run = store.runs.create(project, None, sweep.id, columns)
        store.runs.assignments.end(run.id, "finished")
        store.database.update("runs", run.id, {"state": "finished"})


def test_a_run_that_is_to_be_tried_again_is_pending_until_an_agent_has_it(server: Server, app: App) -> None:
    sweep = server.sweep()
    name = server.claim(server.agent(sweep))
    server.start(name, sweep)
    server.exit(name, 1)
    assert whole(app, sweep)["runs"]["state"] == ["failed"]
    app.ask("POST", data_path(sweep, "/retry"), b"{}")
    runs = whole(app, sweep)["runs"]
    assert (runs["state"], runs["ended_at"], runs["reason"]) == (["pending"], [None], ["exit code 1"])
    assert app.ask("GET", f"/page/data/local/p/runs/{name}").json()["run"]["state"] == "pending"
    server.set_sweep(sweep, "CANCELED")  # nobody will try it
    assert whole(app, sweep)["runs"]["state"] == ["failed"]


def test_a_deleted_run_takes_its_place_with_it(server: Server, app: App) -> None:
    sweep = server.sweep()
    agent = server.agent(sweep)
    first, second = (finish_trial(server, sweep, agent, loss=value) for value in (1.0, 2.0))
    server.do(lambda: server.store.runs.delete(server.run(first)))
    data = whole(app, sweep)
    assert data["runs"]["id"] == [second]
    assert [trial["run"] for trial in data["agents"][0]["trials"]] == [second]
