"""Sweeps made, changed and read by the unmodified SDK: `wandb.sweep()`, `wandb sweep` and the public API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.integration.server.client import Client
from tests.integration.server.conftest import new_project
from tests.integration.server.sdk import Sdk, User
from wandb_sweep_server.launch import ServerAddress

GRID = {"method": "grid", "name": "a grid", "parameters": {"x": {"values": [1, 2, 3]}}}


def sweeps_of(client: Client, project: str) -> list[dict[str, Any]]:
    """All sweeps of a project, the oldest first."""
    query = """query S($p: String!) { project(name: $p) { sweeps { edges { node {
        name displayName state method runCountExpected
    } } } } }"""
    edges = client.graphql(query, p=project)["project"]["sweeps"]["edges"]
    return [edge["node"] for edge in reversed(edges)]


def values_of(command: dict[str, Any]) -> dict[str, Any]:
    """The values of a command to run a trial."""
    return {name: item["value"] for name, item in command["args"].items()}


def finish_all(client: Client, project: str, sweep: str) -> list[dict[str, Any]]:
    """Claim trials of a sweep to its end, end each, and return their values."""
    agent, seen = client.agent(project, sweep), []
    while True:
        (command,) = client.heartbeat(agent)
        if command["type"] == "exit":
            return seen
        seen.append(values_of(command))
        client.finish(project, command["run_id"])


# --- making them ---

MAKE = """
import contextlib, io
common = dict(metric=dict(name="loss", goal="minimize"), program="train.py")
ids = dict(
    grid=wandb.sweep(dict(common, method="grid", name="a grid", parameters=dict(
        x=dict(values=[1, 2]), kind=dict(values=["a", None, True]), fixed=dict(value=0.5),
        opt=dict(parameters=dict(lr=dict(values=[0.1]), deep=dict(parameters=dict(k=dict(value="v")))))))),
    random=wandb.sweep(dict(common, method="random", run_cap=3, parameters=dict(
        n=dict(min=1, max=3), u=dict(min=0.0, max=1.0), c=dict(values=["a", "b"]),
        lr=dict(distribution="log_uniform_values", min=1e-4, max=1e-1)))),
    capped=wandb.sweep(dict(common, method="grid", run_cap=2, parameters=dict(x=dict(values=[1, 2, 3])))),
)
refused = {}
for name, config in dict(
    bayes=dict(common, method="bayes", parameters=dict(u=dict(value=1))),
    endless=dict(common, method="grid", parameters=dict(u=dict(min=0.0, max=1.0))),
    capless=dict(common, method="random", run_cap=-1, parameters=dict(u=dict(value=1))),
).items():
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            wandb.sweep(config)
    except Exception as error:
        refused[name] = str(error) + printed.getvalue()
result([ids, refused])
"""


@pytest.fixture(scope="module")
def made(sdk: Sdk, server: ServerAddress, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Any, Any]:
    """A project, ids of sweeps made in it, and messages about others that were refused."""
    user = User(sdk, server, tmp_path_factory.mktemp("made"), new_project())
    ids, refused = user.result(MAKE)
    return user.project, ids, refused


def test_a_grid_made_by_the_sdk_is_the_product_of_its_values_with_their_types(
    made: tuple[str, Any, Any], client: Client
) -> None:
    project, ids, _ = made
    seen = finish_all(client, project, ids["grid"])
    common = {"fixed": 0.5, "opt": {"lr": 0.1, "deep": {"k": "v"}}}
    # The SDK sorts the parameters by name, and the last of them varies fastest.
    assert seen == [{"x": x, "kind": kind, **common} for kind in ("a", None, True) for x in (1, 2)]
    assert [type(values["kind"]) for values in seen[::2]] == [str, type(None), bool]
    assert client.sweep_of(project, ids["grid"])["state"] == "FINISHED"


def test_a_random_sweep_made_by_the_sdk_draws_within_its_bounds_up_to_its_cap(
    made: tuple[str, Any, Any], client: Client
) -> None:
    project, ids, _ = made
    seen = finish_all(client, project, ids["random"])
    assert len(seen) == 3
    for values in seen:
        assert type(values["n"]) is int
        assert 1 <= values["n"] <= 3
        assert type(values["u"]) is float
        assert 0 <= values["u"] <= 1
        assert values["c"] in ("a", "b")
        assert 1e-4 <= values["lr"] <= 1e-1
    assert len({values["u"] for values in seen}) == 3
    assert client.sweep_of(project, ids["random"])["state"] == "FINISHED"


def test_a_cap_on_runs_ends_a_grid_early(made: tuple[str, Any, Any], client: Client) -> None:
    project, ids, _ = made
    assert client.sweep_of(project, ids["capped"])["runCountExpected"] == 2
    assert finish_all(client, project, ids["capped"]) == [{"x": 1}, {"x": 2}]
    assert client.sweep_of(project, ids["capped"])["state"] == "FINISHED"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bayes", "'bayes' needs a parameter with more than one value"),
        ("endless", "parameter 'u' (uniform) cannot be searched by a grid"),
        ("capless", "run_cap"),
    ],
)
def test_the_sdk_shows_why_a_config_is_refused(made: tuple[str, Any, Any], name: str, message: str) -> None:
    assert message in made[2][name]


# --- the command line ---


def test_the_command_line_makes_updates_pauses_resumes_and_stops_a_sweep(user: User, client: Client) -> None:
    file = user.directory / "sweep.yaml"
    file.write_text(yaml.safe_dump(GRID))
    user.run("wandb", "sweep", "sweep.yaml")
    (sweep,) = sweeps_of(client, user.project)
    assert (sweep["displayName"], sweep["state"], sweep["runCountExpected"]) == ("a grid", "PENDING", 3)
    name = sweep["name"]
    path = f"local/{user.project}/{name}"

    agent, other = client.agent(user.project, name), client.agent(user.project, name)
    (first,) = client.heartbeat(agent)
    user.run("wandb", "sweep", "--pause", path)
    assert client.sweep_of(user.project, name)["state"] == "PAUSED"
    assert client.heartbeat(agent, [first["run_id"]]) == []  # what runs goes on
    assert client.heartbeat(other) == []  # nothing new

    user.run("wandb", "sweep", "--resume", path)
    (second,) = client.heartbeat(other)
    assert (values_of(first), values_of(second)) == ({"x": 1}, {"x": 2})

    user.run("wandb", "sweep", "--stop", path)
    assert client.sweep_of(user.project, name)["state"] == "FINISHED"
    assert client.heartbeat(agent, [first["run_id"]]) == []  # to its end
    client.finish(user.project, first["run_id"])
    assert client.heartbeat(agent) == [{"type": "exit"}]  # though x=3 was never tried
    assert client.run(user.project, first["run_id"])["state"] == "finished"


def test_the_command_line_updates_and_cancels_a_sweep(user: User, client: Client) -> None:
    file = user.directory / "sweep.yaml"
    name = client.sweep(user.project, GRID)
    path = f"local/{user.project}/{name}"
    file.write_text(yaml.safe_dump({**GRID, "parameters": {"x": {"values": [7]}}}))
    user.run("wandb", "sweep", "--update", path, "sweep.yaml")
    agent = client.agent(user.project, name)
    (command,) = client.heartbeat(agent)
    assert values_of(command) == {"x": 7}

    run = command["run_id"]
    client.start(user.project, run, name)
    user.run("wandb", "sweep", "--cancel", path)
    assert client.sweep_of(user.project, name)["state"] == "CANCELED"
    assert client.heartbeat(agent, [run]) == [{"type": "stop", "run_id": run}]
    assert client.stream(user.project, run).json() == {"stopped": True}
    assert client.heartbeat(agent) == [{"type": "exit"}]
    assert client.run(user.project, run)["state"] == "killed"


def test_the_command_line_shows_why_a_config_is_refused(user: User, client: Client) -> None:
    (user.directory / "sweep.yaml").write_text(yaml.safe_dump({**GRID, "method": "bayes"}))
    done = user.run("wandb", "sweep", "sweep.yaml", check=False, WANDB_SILENT="false")
    assert done.returncode != 0
    assert "'bayes' needs a metric" in done.stdout + done.stderr


def test_an_agent_of_a_sweep_that_has_ended_is_told_so(user: User, client: Client) -> None:
    name = client.sweep(user.project, {**GRID, "program": "train.py"})
    user.run("wandb", "sweep", "--stop", f"local/{user.project}/{name}")
    done = user.run("wandb", "agent", f"local/{user.project}/{name}", check=False, WANDB_SILENT="false")
    assert done.returncode != 0
    assert "is not running" in done.stdout + done.stderr


# --- the public API ---

READ = """
api = wandb.Api()
sweep = api.sweep(PATH)
project = PATH.rsplit("/", 1)[0]

def xs(filters=None, order="+created_at"):
    return [run.config["x"] for run in api.runs(project, filters=filters, order=order)]

def refused(work):
    try:
        return work()
    except Exception as error:
        answer = getattr(error, "response", None)  # older versions tell of the status only
        return f"{error} {getattr(answer, 'text', '')}"

run = next(run for run in sweep.runs if run.config["x"] == 1)
run.config["note"] = "changed"
run.tags.append("seen")
run.update()
run.summary["verdict"] = "good"
run.summary.update()
again = wandb.Api().run(f"{project}/{run.id}")
result(dict(
    state=sweep.state,
    name=sweep.name,
    method=sweep.config["method"],
    expected=sweep.expected_run_count,
    runs=sorted([run.config["x"], run.state, run.summary.get("loss")] for run in sweep.runs),
    count=len(sweep.runs),
    best=sweep.best_run().config["x"],
    by_loss=xs(order="+summary_metrics.loss"),
    by_x=xs(order="-config.x"),
    by_wrapped_x=xs(order="+config.x.value"),
    newest_first=xs(order="-created_at"),
    filters=[
        xs({"state": "finished"}),
        xs({"state": {"$ne": "finished"}}),
        xs({"config.x": {"$gt": 1}}),
        xs({"config.x": 2}),
        xs({"summary_metrics.loss": {"$lt": 2.5}}),
        xs({"$or": [{"config.x": 1}, {"config.x": 3}]}),
        xs({"$and": [{"config.x": {"$gte": 2}}, {"state": "finished"}]}),
        xs({"config.x": {"$in": [3, 4]}}),
        xs({"tags": {"$in": ["seen"]}}),
        xs({"display_name": {"$regex": ".*"}}),
        xs({"config.missing": None}),
        xs({"sweep": sweep.id}),
        xs({"sweep": "another"}),
        xs({"created_at": {"$gt": "2020-01-01T00:00:00"}}),
        xs({"created_at": {"$lt": "2020-01-01T00:00:00"}}),
        xs({"config.x.value": {"$lte": 2}}),
        xs({"config.x": {"$nin": [1, 2]}}),
        xs({"$nor": [{"config.x": 1}, {"state": "failed"}]}),
        xs({"config.x": {"$not": {"$gt": 1}}}),
        xs({"config.x": {"$eq": 2}}),
        xs({"summary_metrics.loss": {"$exists": False}}),
        xs({"summary_metrics.loss": None}),
        xs({"config.x": True}),
        xs({"config.x": "1"}),
        xs({"jobType": "train"}),
    ],
    unknown=refused(lambda: xs({"shoe_size": 1})),
    changed=[again.config.get("note"), again.config["x"], again.tags, again.summary.get("verdict"), again.state],
    kept=again.summary.get("loss"),
    run_sweep=again.sweep.id if again.sweep else None,
    project_names=[found.name for found in api.projects("local")],
))
"""


@pytest.fixture(scope="module")
def read(
    sdk: Sdk, server: ServerAddress, client: Client, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Any]]:
    """What the public API tells of a grid of which two runs have finished and one has failed."""
    user = User(sdk, server, tmp_path_factory.mktemp("read"), new_project())
    config = {**GRID, "metric": {"name": "loss", "goal": "minimize"}}
    sweep = client.sweep(user.project, config)
    agent = client.agent(user.project, sweep)
    for exit_code, summary in ((0, {"loss": 2.0}), (1, {}), (0, {"loss": 1.0})):
        (command,) = client.heartbeat(agent)
        client.start(user.project, command["run_id"], sweep, values_of(command))
        client.finish(user.project, command["run_id"], exit_code, summary)
    path = f"local/{user.project}/{sweep}"
    yield {**user.result(READ.replace("PATH", json.dumps(path))), "id": sweep, "project": user.project}
    user.end()


def test_the_public_api_shows_a_sweep_and_its_runs(read: dict[str, Any]) -> None:
    assert (read["state"], read["name"], read["method"], read["expected"]) == ("FINISHED", "a grid", "grid", 3)
    assert read["runs"] == [[1, "finished", 2.0], [2, "failed", None], [3, "finished", 1.0]]
    assert read["count"] == 3
    assert read["run_sweep"] == read["id"]
    assert read["project"] in read["project_names"]


def test_the_public_api_finds_the_best_run(read: dict[str, Any]) -> None:
    assert read["best"] == 3


def test_the_public_api_orders_runs_and_puts_those_without_the_value_last(read: dict[str, Any]) -> None:
    assert read["by_loss"] == [3, 1, 2]
    assert read["by_x"] == [3, 2, 1]
    assert read["newest_first"] == [3, 2, 1]
    assert read["by_wrapped_x"] == [1, 2, 3]


def test_the_public_api_filters_runs(read: dict[str, Any]) -> None:
    everything = [1, 2, 3]
    assert read["filters"] == [
        [1, 3],
        [2],
        [2, 3],
        [2],
        [1, 3],
        [1, 3],
        [3],
        [3],
        [1],
        everything,
        everything,
        everything,
        [],
        everything,
        [],
        [1, 2],
        [3],
        [3],
        [1],
        [2],
        [2],
        [2],
        [],
        [],
        [],
    ]


def test_the_public_api_shows_which_key_of_a_filter_is_unknown(read: dict[str, Any]) -> None:
    assert "key 'shoe_size' is not available in this server" in read["unknown"]


def test_the_public_api_changes_a_run_that_has_ended_and_leaves_it_ended(read: dict[str, Any]) -> None:
    assert read["changed"] == ["changed", 1, ["seen"], "good", "finished"]
    assert read["kept"] == 2.0


def test_more_runs_than_fit_on_a_page_are_all_listed(user: User, client: Client) -> None:
    sweep = client.sweep(user.project, {"method": "grid", "parameters": {"x": {"values": list(range(120))}}})
    finish_all(client, user.project, sweep)
    seen = user.result(f"""
        sweep = wandb.Api().sweep("local/{user.project}/{sweep}")
        result([[run.config["x"] for run in sweep.runs], [
            run.config["x"] for run in wandb.Api().runs("local/{user.project}", order="+created_at", per_page=50)
        ]])
    """)
    assert [sorted(xs) for xs in seen] == [list(range(120))] * 2


def test_runs_can_be_put_into_the_queue_of_a_sweep(sdk: Sdk, user: User, client: Client) -> None:
    if sdk.version < (0, 31):
        pytest.skip("Sweep.enqueue_run and Sweep.agents came with wandb 0.31")
    sweep = client.sweep(user.project, GRID)
    agent = client.agent(user.project, sweep)
    agents = user.result(f"""
        sweep = wandb.Api().sweep("local/{user.project}/{sweep}")
        sweep.enqueue_run({{"x": 41}})
        sweep.enqueue_run({{"x": {{"value": 42}}}})
        result([[agent.id, agent.state] for agent in sweep.agents()])
    """)
    assert len(agents) == 1
    assert agents[0][1] == "RUNNING"
    seen = []
    for _ in range(3):
        (command,) = client.heartbeat(agent)
        assert command["type"] == "run"
        seen.append(values_of(command))
        client.finish(user.project, command["run_id"])
    assert seen == [{"x": 41}, {"x": 42}, {"x": 1}]
