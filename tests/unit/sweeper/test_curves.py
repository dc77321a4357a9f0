"""Histories for report.html: which are asked for, in how many requests, and what is said of those that lack."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from hydra_plugins.hydra_wandb_sweeper._curves import (
    MOST_KEYS,
    MOST_RUNS,
    CurveClient,
    choose_keys,
    choose_runs,
    read_curves,
)
from hydra_plugins.hydra_wandb_sweeper._transport import ServerAccess
from tests.unit.sweeper.test_client import KEY, SWEEP, Answer, FakeTime, ScriptedServer


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    server = ScriptedServer()
    yield server
    server.close()


def client_of(server: ScriptedServer) -> CurveClient:
    return CurveClient(lambda: ServerAccess(server.url, server.url, KEY, is_local=True), patience_s=0.0)


def data_of(count: int, goal: str = "minimize", **metrics: list[Any]) -> dict[str, Any]:
    return {
        "sweep": {"metric": {"name": "loss", "goal": goal}},
        "runs": {"id": [f"r{i}" for i in range(count)], "state": ["finished"] * count, "metrics": metrics},
    }


def histories(**runs: list[dict[str, Any]]) -> Answer:
    edges = [{"node": {"name": name, "sampledHistory": [rows]}} for name, rows in runs.items()]
    return Answer(200, {"data": {"project": {"runs": {"edges": edges}}}})


def test_curves_have_the_steps_at_which_the_metric_is_a_number(server: ScriptedServer) -> None:
    rows = [
        {"_step": 0, "loss": 1},
        {"_step": 1, "loss": "NaN"},
        {"_step": 2, "loss": None},
        {"_step": 5, "loss": 0.5},
    ]
    server.answers = [histories(r0=rows, r1=[])]
    curves = read_curves(client_of(server), SWEEP, data_of(2), time_s=9)
    assert curves.to_json() == [{"key": "loss", "runs": [{"id": "r0", "steps": [0, 5], "values": [1, 0.5]}]}]
    assert curves.notes == ()
    ((path, body, _),) = server.requests
    variables = body["variables"]
    assert path == "/graphql"
    assert json.loads(variables["specs"][0]) == {"keys": ["_step", "loss"], "samples": 200}
    assert json.loads(variables["filters"]) == {"$and": [{"sweep": SWEEP.sweep_id}, {"name": {"$in": ["r0", "r1"]}}]}


def test_requests_are_as_many_as_runs_and_metrics_need(server: ScriptedServer) -> None:
    server.answers = [histories()]
    read_curves(client_of(server), SWEEP, data_of(60, loss=[0.5] * 60, acc=[1.0] * 60), time_s=9)
    asked = [json.loads(body["variables"]["specs"][0])["keys"][1] for _, body, _ in server.requests]
    assert asked == ["loss"] * 3 + ["acc"] * 3
    assert [body["variables"]["first"] for _, body, _ in server.requests] == [25, 25, 10] * 2


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Answer(503, "busy"), id="says later"),
        pytest.param(Answer(403, "no"), id="refuses"),
        pytest.param(Answer(200, {"errors": [{"message": "unknown field"}]}), id="doesn't know the field"),
        pytest.param(Answer(200, "<html>"), id="is no such server"),
    ],
)
def test_a_server_that_answers_with_errors_leaves_the_rest_of_the_report(
    server: ScriptedServer, answer: Answer
) -> None:
    server.answers = [histories(r0=[{"_step": 0, "loss": 1}]), answer]
    curves = read_curves(client_of(server), SWEEP, data_of(1, loss=[1], acc=[1]), time_s=9)
    assert list(curves.by_key) == ["loss"]
    assert curves.notes[0].startswith("The report lacks curves of metrics: ")


def test_a_project_that_is_gone_has_no_curves(server: ScriptedServer) -> None:
    server.answers = [Answer(200, {"data": {"project": None}})]
    assert read_curves(client_of(server), SWEEP, data_of(1), time_s=9).by_key == {}


def test_reading_ends_when_its_time_is_up(server: ScriptedServer) -> None:
    time = FakeTime()

    def clock() -> float:
        time.now += 1
        return time.now

    server.answers = [histories(r0=[{"_step": 0, "loss": 1}])]
    curves = read_curves(client_of(server), SWEEP, data_of(200, loss=[1] * 200), time_s=4, clock=clock)
    assert len(server.requests) == 3
    assert "of loss, only those of loss could be read within 4 s" in curves.notes[0]


def test_no_runs_need_no_request(server: ScriptedServer) -> None:
    assert read_curves(client_of(server), SWEEP, data_of(0), time_s=9).to_json() == []
    assert server.requests == []


def test_the_sweep_s_metric_comes_first_then_those_that_most_runs_have() -> None:
    data = data_of(3, a=[1, None, None], b=[1, 1, 1], loss=[None, None, 1])
    assert choose_keys(data) == ["loss", "b", "a"]
    assert choose_keys(data_of(1)) == ["loss"], "it may have a history without being in any summary"
    assert len(choose_keys(data_of(1, **{f"m{i}": [1] for i in range(50)}))) == MOST_KEYS


@pytest.mark.parametrize("goal", ["minimize", "maximize"])
def test_of_too_many_runs_an_even_choice_is_taken_with_the_best_one(goal: str) -> None:
    count = 4000
    values = [float(i) if goal == "maximize" else float(-i) for i in range(count)]
    data = data_of(count, goal, loss=values)
    chosen = choose_runs(data)
    assert len(chosen) == MOST_RUNS
    assert chosen == sorted(chosen, key=lambda run_id: int(run_id[1:]))
    assert f"r{count - 1}" in chosen
    assert choose_runs(data_of(7)) == [f"r{i}" for i in range(7)]


def test_a_choice_of_runs_is_told(server: ScriptedServer) -> None:
    server.answers = [histories()]
    curves = read_curves(client_of(server), SWEEP, data_of(501), time_s=9)
    assert curves.notes[0].startswith(f"Curves are those of {len(choose_runs(data_of(501)))} of 501 runs")
