"""Pages of runs, and samples of their histories."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.server.four_runs import store_runs
from tests.unit.server.support import Server
from wandb_sweep_server.errors import ClientError
from wandb_sweep_server.filters import ALWAYS, Condition
from wandb_sweep_server.listing import RunLists, page_bounds
from wandb_sweep_server.records import Project
from wandb_sweep_server.sweeps import SweepChange

RUNS = 23


@pytest.fixture
def lists(server: Server) -> RunLists:
    for number in range(RUNS):
        server.start(f"r{number:02}", summary={"loss": number % 3} if number % 4 else {})
        server.time.pass_s(number % 2)
    return RunLists(server.store.database, server.store.runs)


@pytest.fixture
def run_name(server: Server) -> str:
    return server.start(None).name


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
@given(
    st.sampled_from([None, "+created_at", "-created_at", "+summary_metrics.loss", "-summary_metrics.loss", "-name"]),
    st.integers(1, RUNS + 2),
)
def test_cursors_walk_through_every_run_exactly_once(lists: RunLists, order: str | None, count: int) -> None:
    whole = [run.name for run in lists.page(ALWAYS, None, order, None, None).items]
    walked: list[str] = []
    after: str | None = None
    while True:
        page = lists.page(ALWAYS, None, order, after, count)
        assert page.items, "the page before said that there was more"
        walked += [run.name for run in page.items]
        if not page.has_next:
            break
        assert len(page.items) == count
        after = page.cursor(count - 1)
    assert walked == whole
    assert sorted(walked) == [f"r{number:02}" for number in range(RUNS)]


def test_every_cursor_of_a_page_leads_to_the_run_after_it(lists: RunLists) -> None:
    page = lists.page(ALWAYS, None, "+name", None, 5)
    for index in range(5):
        (following,) = lists.page(ALWAYS, None, "+name", page.cursor(index), 1).items
        assert following.name == f"r{index + 1:02}"


def test_a_filter_goes_with_the_scope_and_the_pages(lists: RunLists) -> None:
    scope, filters = Condition("runs.name < ?", ("r10",)), json.dumps({"$or": [{"name": "r03"}, {"name": "r15"}]})
    assert [run.name for run in lists.page(scope, filters, None, None, None).items] == ["r03"]
    assert lists.count(scope, filters) == 1
    assert lists.count(scope, None) == 10


def test_a_sweep_of_the_same_name_in_another_project_is_another_sweep(server: Server) -> None:
    lists = store_runs(server)

    def in_other_project() -> Project:
        project = server.store.projects.require(None, "q")
        sweep = server.store.sweeps.create(project, SweepChange(config="{method: grid, parameters: {a: {value: 1}}}"))
        server.store.database.update("sweeps", sweep.id, {"name": "sweep1"})
        server.store.runs.create(project, "other", sweep.id, {})
        return project

    found = []
    for project in (server.project(), server.do(in_other_project)):
        page = lists.page_of_project(project, '{"sweep": "sweep1"}', "+name", None, None)
        assert lists.count_of_project(project, '{"sweep": "sweep1"}') == len(page.items)
        found.append([run.name for run in page.items])
    assert found == [["r1", "r2"], ["other"]]


@pytest.mark.parametrize(("first", "count"), [(None, 50), (0, 0), (7, 7), (10**9, 10_000)])
def test_pages_have_a_size(first: int | None, count: int) -> None:
    assert page_bounds(None, first) == (0, count)
    assert page_bounds("", first) == (0, count)


@pytest.mark.parametrize("inner", ["after:x", "after:", "before:1", "after:-1", f"after:{10**30}", "after:1.5"])
def test_a_cursor_of_another_server_is_refused(inner: str) -> None:
    cursor = base64.b64encode(inner.encode()).decode()
    with pytest.raises(ClientError, match=f"after = '{cursor}' is not a cursor of this server"):
        page_bounds(cursor, None)


@pytest.mark.parametrize("cursor", ["?", "abc", "gICA", "ä"])
def test_what_is_no_cursor_at_all_is_refused(cursor: str) -> None:
    with pytest.raises(ClientError, match="is not a cursor of this server"):
        page_bounds(cursor, None)


def test_a_negative_page_is_refused() -> None:
    with pytest.raises(ClientError, match="first = -1 must not be negative"):
        page_bounds(None, -1)


def log(server: Server, name: str, rows: list[Any]) -> None:
    content = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    server.post(name, {"files": {"wandb-history.jsonl": {"offset": 0, "content": content}}})


def sampled(server: Server, name: str, **spec: Any) -> list[dict[str, Any]]:
    lists = RunLists(server.store.database, server.store.runs)
    return lists.sampled_history(server.run(name), json.dumps(spec))


def test_sampled_history_has_the_rows_with_all_keys(server: Server, run_name: str) -> None:
    log(server, run_name, [{"_step": 0, "a": 1}, {"_step": 1, "a": 2, "b": float("nan")}, {"_step": 2, "b": 3}])
    assert sampled(server, run_name, keys=["a"]) == [{"a": 1}, {"a": 2}]
    assert sampled(server, run_name, keys=["a", "b"]) == [{"a": 2, "b": "NaN"}]
    assert sampled(server, run_name, keys=["zeta"]) == []
    assert sampled(server, run_name) == sampled(server, run_name, keys=[]) == []


def test_sampled_history_finds_nested_values_by_their_dotted_names(server: Server, run_name: str) -> None:
    log(server, run_name, [{"val": {"loss": 1, "acc": None}}, {"val.loss": 2, "val": {"loss": 3}}, {"val": 4}, {}])
    assert sampled(server, run_name, keys=["val.loss"]) == [{"val.loss": 1}, {"val.loss": 2}]
    assert sampled(server, run_name, keys=["val.acc"]) == [{"val.acc": None}]


def test_sampled_history_has_a_first_step_and_one_that_it_stops_before(server: Server, run_name: str) -> None:
    log(server, run_name, [{"_step": step} for step in range(10)])
    found = sampled(server, run_name, keys=["_step"], minStep=3, maxStep=6)
    assert [row["_step"] for row in found] == [3, 4, 5]


@pytest.mark.parametrize(("samples", "steps"), [(1, [9]), (2, [0, 9]), (4, [0, 3, 6, 9]), (10, list(range(10)))])
def test_samples_are_spread_evenly_and_the_last_is_among_them(
    server: Server, run_name: str, samples: int, steps: list[int]
) -> None:
    log(server, run_name, [{"_step": step} for step in range(10)])
    assert [row["_step"] for row in sampled(server, run_name, keys=["_step"], samples=samples)] == steps
    lists = RunLists(server.store.database, server.store.runs)
    lines = lists.sampled_lines(server.run(run_name), "history", samples)
    assert [json.loads(line)["_step"] for line in lines] == steps


def test_history_lines_are_chosen_by_their_steps_which_are_not_their_numbers(server: Server, run_name: str) -> None:
    log(server, run_name, [{"_step": step} for step in (0, 10, 20, 10)] + [{"a": 1}])
    history_lines = RunLists(server.store.database, server.store.runs).history_lines
    run = server.run(run_name)
    assert history_lines(run, 5, 20) == ['{"_step": 10}', '{"_step": 10}']
    assert history_lines(run, 20, None) == ['{"_step": 20}']
    assert history_lines(run, None, 10) == ['{"_step": 0}', '{"a": 1}']


def test_lines_that_are_no_json_objects_have_no_keys(server: Server, run_name: str) -> None:
    log(server, run_name, ["{", "[1]", "7", '{"a": 1, "_step": "x"}', '{"a": 2, "_step": 1}'])
    assert sampled(server, run_name, keys=["a"], minStep=0) == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("{", "is not valid JSON"),
        ("[1]", "must be a JSON object with a list of keys"),
        ('{"keys": "a"}', "must be a JSON object with a list of keys"),
        ('{"keys": ["a"], "samples": "x"}', "samples = 'x' must be an integer"),
        ('{"keys": ["a"], "minStep": [1]}', r"minStep = \[1\] must be an integer"),
    ],
)
def test_a_wrong_spec_is_refused(server: Server, run_name: str, spec: str, message: str) -> None:
    with pytest.raises(ClientError, match=f"specs: .*{message}"):
        RunLists(server.store.database, server.store.runs).sampled_history(server.run(run_name), spec)
