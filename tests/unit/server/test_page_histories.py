"""Histories of all runs of a sweep: sampled, whatever else their lines have in them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.server.asgi import App
from tests.unit.server.pages import data_path
from tests.unit.server.support import Server
from tests.unit.server.test_growth import steps_of
from wandb_sweep_server.pages.histories import SweepHistories, _Run
from wandb_sweep_server.records import Sweep


@pytest.fixture
def app(server: Server) -> Iterator[App]:
    app = App(server)
    yield app
    app.close()


@pytest.fixture
def sweep(server: Server) -> Sweep:
    return server.sweep()


def log(server: Server, sweep: Sweep, run: str, rows: list[dict[str, Any]]) -> None:
    server.start(run, sweep)
    content = [json.dumps(row) for row in rows]
    server.post(run, {"files": {"wandb-history.jsonl": {"offset": 0, "content": content}}})


def history(app: App, sweep: Sweep, key: str, points: int = 200) -> list[dict[str, Any]]:
    answer = app.ask("GET", data_path(sweep, f"/history?key={key}&points={points}")).json()
    runs: list[dict[str, Any]] = answer["runs"]
    return runs


def test_short_histories_are_told_whole(server: Server, app: App, sweep: Sweep) -> None:
    log(server, sweep, "r1", [{"_step": step, "loss": 1 / (step + 1)} for step in range(3)])
    log(server, sweep, "r2", [{"_step": 5, "loss": 2.0}])
    log(server, sweep, "r3", [{"_step": 0, "acc": 0.5}])
    server.start("r4", sweep)
    assert history(app, sweep, "loss") == [
        {"id": "r1", "steps": [0, 1, 2], "values": [1.0, 0.5, 1 / 3]},
        {"id": "r2", "steps": [5], "values": [2.0]},
    ]


@pytest.mark.parametrize("count", [11, 100, 5_000])
def test_long_ones_have_so_many_points_the_first_and_the_last_among_them(
    server: Server, app: App, sweep: Sweep, count: int
) -> None:
    log(server, sweep, "r", [{"_step": step, "loss": float(step)} for step in range(count)])
    (run,) = history(app, sweep, "loss", points=10)
    assert len(run["steps"]) == 10
    assert (run["steps"][0], run["steps"][-1]) == (0, count - 1)
    gaps = [later - step for step, later in pairwise(run["steps"])]
    assert max(gaps) - min(gaps) <= 2 + count // 100


def test_a_key_that_few_lines_have_has_all_its_points(server: Server, app: App, sweep: Sweep) -> None:
    rows = [{"_step": step, "loss": 1.0} | ({"val_loss": step} if step % 50 == 0 else {}) for step in range(1_000)]
    log(server, sweep, "r", rows)
    (run,) = history(app, sweep, "val_loss", points=20)
    assert run["values"] == list(range(0, 1_000, 50))


def test_of_histories_whose_lines_all_have_the_key_only_the_points_are_read(server: Server, sweep: Sweep) -> None:
    steps = []
    for length in (100, 10_000):
        run = f"r{length}"
        log(server, sweep, run, [{"_step": step, "loss": float(step)} for step in range(length)])
        made = _Run(server.run(run).id, run, length)
        histories = SweepHistories(server.store.database, server.store.run)
        steps.append(steps_of(server, lambda made=made, h=histories: h._texts_with(made, '"loss"', 20_000, 50)))
    few, many = steps
    assert many <= 2 * few


@pytest.mark.parametrize("key", ["val.loss", "a/b", "ünd", 'quo"te', "back\\slash", "x<y"])
def test_keys_may_be_nested_and_written_in_any_way(server: Server, app: App, sweep: Sweep, key: str) -> None:
    from urllib.parse import quote

    log(server, sweep, "nested", [{"_step": 0, "val": {"loss": 1.0}}])
    log(server, sweep, "flat", [{"_step": 1, key: 2.0}])
    found = {run["id"]: run["values"] for run in history(app, sweep, quote(key))}
    assert found == {"flat": [2.0]} | ({"nested": [1.0]} if key == "val.loss" else {})


def test_what_is_no_finite_number_is_left_out(server: Server, app: App, sweep: Sweep) -> None:
    values = ["NaN", "Infinity", None, "text", True, [1], {"a": 1}, 0.5]
    log(server, sweep, "r", [{"_step": step, "x": value} for step, value in enumerate(values)])
    assert history(app, sweep, "x") == [{"id": "r", "steps": [7], "values": [0.5]}]


@given(
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=5),
    points=st.integers(2, 30),
    every=st.integers(1, 5),
)
@settings(max_examples=20, suppress_health_check=list(HealthCheck))
def test_points_are_of_the_history_in_its_order(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], points: int, every: int
) -> None:
    server = Server(tmp_path_factory.mktemp("store"))
    app, sweep = App(server), server.sweep()
    logged: dict[str, list[int]] = {}
    for number, length in enumerate(lengths):
        rows = [{"_step": step} | ({"x": step} if step % every == 0 else {}) for step in range(length)]
        log(server, sweep, f"r{number}", rows)
        logged[f"r{number}"] = [step for step in range(length) if step % every == 0]
    found = {run["id"]: run for run in history(app, sweep, "x", points)}
    assert set(found) == {name for name, steps in logged.items() if steps}
    for name, run in found.items():
        steps = logged[name]
        assert run["steps"] == run["values"]
        assert set(run["steps"]) <= set(steps)
        assert run["steps"] == sorted(run["steps"])
        assert (run["steps"][0], run["steps"][-1], len(run["steps"])) == (
            steps[0],
            steps[-1],
            min(points, len(steps)),
        )
    app.close()
    server.store.close()


def test_keys_are_those_that_have_numbers(server: Server, app: App, sweep: Sweep) -> None:
    log(server, sweep, "r1", [{"_step": 0, "_runtime": 1.0, "loss": 1.0, "text": "x", "bad": "NaN"}])
    log(server, sweep, "r2", [{"_step": 0, "val": {"acc": 1.0}, "loss": 2.0}])
    assert app.ask("GET", data_path(sweep, "/keys")).json() == {"keys": ["loss", "val.acc"]}


def test_many_runs_share_the_points_that_can_be_drawn(server: Server, app: App, sweep: Sweep) -> None:
    def fill() -> None:
        for number in range(2_000):
            run = server.store.runs.create(server.project_row(), f"r{number}", sweep.id, {"history_lines": 1})
            server.store.database.execute(
                "INSERT INTO stream_lines VALUES (?, 'history', 0, ?)", (run.id, '{"_step":0,"x":1}')
            )

    server.do(fill)
    assert len(history(app, sweep, "x", points=2_000)) == 2_000
