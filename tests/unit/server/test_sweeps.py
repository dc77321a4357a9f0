"""Sweeps: their states, their changes, and runs that others enqueue."""

from __future__ import annotations

import json

import pytest

from tests.unit.server.support import GRID_OF_FOUR, Server
from wandb_sweep_server.errors import ClientError, NotFoundError
from wandb_sweep_server.records import Sweep, global_id
from wandb_sweep_server.sweeps import MOST_CONFIGS, SweepChange

EXIT = [{"type": "exit"}]


def change(server: Server, sweep: Sweep, **keys: object) -> Sweep:
    config = {"method": "grid", "parameters": GRID_OF_FOUR, "program": "train.py", **keys}
    return server.do(
        lambda: server.store.sweeps.change(server.sweep_now(sweep), SweepChange(config=json.dumps(config)))
    )


def test_a_sweep_is_pending_until_an_agent_joins(server: Server) -> None:
    sweep = server.sweep(name="n", description="d")
    assert (sweep.state, sweep.display_name, sweep.description) == ("PENDING", "n", "d")
    server.agent(sweep)
    assert server.sweep_now(sweep).state == "RUNNING"


def test_a_wrong_sweep_is_not_made(server: Server) -> None:
    with pytest.raises(ClientError, match="cannot be searched by a grid"):
        server.sweep({"a": {"min": 0.0, "max": 1.0}})
    with pytest.raises(ClientError, match="a new sweep needs a config"):
        server.do(lambda: server.store.sweeps.create(server.project_row(), SweepChange()))
    assert server.store.sweeps.count(server.project().id) == 0


def test_a_paused_sweep_hands_out_nothing_until_it_is_resumed(server: Server) -> None:
    sweep = server.sweep()
    agent = server.agent(sweep)
    server.set_sweep(sweep, "PAUSED")
    assert server.heartbeat(agent) == []
    server.set_sweep(sweep, "RUNNING")
    assert server.claim(agent)


def test_a_stopped_sweep_lets_its_runs_end_and_then_its_agents(server: Server) -> None:
    sweep = server.sweep()
    busy, idle = server.agent(sweep), server.agent(sweep)
    name = server.claim(busy)
    server.start(name, sweep)
    server.set_sweep(sweep, "FINISHED")
    assert server.heartbeat(idle) == EXIT
    assert server.heartbeat(busy, name) == []
    assert server.exit(name).state == "finished"
    assert server.heartbeat(busy) == EXIT


def test_a_canceled_sweep_stops_its_runs_and_forgets_its_queue(server: Server) -> None:
    sweep = server.sweep()
    busy, away = server.agent(sweep), server.agent(sweep)
    running, unstarted = server.claim(busy), server.claim(away)
    server.time.pass_s(301)
    server.start(running, sweep)
    server.heartbeat(busy, running)
    server.keep_house()
    assert server.run(unstarted).queued_at is not None
    server.set_sweep(sweep, "CANCELED")
    assert server.heartbeat(busy, running) == [{"type": "stop", "run_id": running}]
    assert server.heartbeat(busy) == EXIT
    assert {name: server.run(name).state for name in (running, unstarted)} == {running: "killed", unstarted: "killed"}
    assert server.run(unstarted).queued_at is None


def test_run_cap_counts_every_run_of_the_sweep(server: Server) -> None:
    sweep = server.sweep({"a": {"min": 0.0, "max": 1.0}}, method="random", run_cap=3)
    server.start("mine", sweep)
    agent = server.agent(sweep)
    for _ in range(2):
        server.exit(server.start(server.claim(agent), sweep).name)
    assert server.heartbeat(agent) == []
    server.exit("mine")
    assert server.sweep_now(sweep).state == "FINISHED"
    assert (server.sweep_now(sweep).run_count, server.heartbeat(agent)) == (3, EXIT)


def test_what_does_not_move_a_grid_may_change_at_any_time(server: Server) -> None:
    sweep = server.sweep()
    server.claim(server.agent(sweep))
    change(server, sweep, program="other.py", run_cap=2)
    (command,) = server.heartbeat(server.agent(sweep))
    assert command["program"] == "other.py"
    assert server.heartbeat(server.agent(sweep)) == []


@pytest.mark.parametrize(
    "keys",
    [
        {"method": "random"},
        {"parameters": {"a": {"values": [1, 2, 3]}, "b": {"values": ["x", "y"]}}},
        {"parameters": {"a": {"values": [1.0, 2]}, "b": {"values": ["x", "y"]}}},
        {"parameters": {"b": {"values": ["x", "y"]}, "a": {"values": [1, 2]}}},
    ],
)
def test_a_grid_that_was_begun_cannot_move(server: Server, keys: dict[str, object]) -> None:
    sweep = server.sweep()
    assert change(server, sweep, **keys).next_trial == 0
    change(server, sweep)
    server.claim(server.agent(sweep))
    with pytest.raises(ClientError, match="cannot change after 1 trials of it were handed out; create a new sweep"):
        change(server, sweep, **keys)
    assert json.loads(server.config_text(sweep))["parameters"] == GRID_OF_FOUR


def test_a_scheduler_chooses_the_trials_and_the_end(server: Server) -> None:
    sweep = server.sweep(scheduler={"engine": "wandb"})
    agent = server.agent(sweep)
    assert server.heartbeat(agent) == []
    args = {"lr": {"value": 0.5}}
    run = server.do(lambda: server.store.agents.enqueue(server.sweep_now(sweep), server.project_row(), args, "first"))
    (command,) = server.heartbeat(agent)
    assert (command["type"], command["run_id"], command["args"]) == ("run", run.name, args)
    server.start(run.name, sweep)
    server.exit(run.name)
    assert server.sweep_now(sweep).state == "RUNNING"
    server.set_sweep(sweep, "FINISHED")
    with pytest.raises(ClientError, match="is not running"):
        server.store.agents.enqueue(server.sweep_now(sweep), server.project_row(), args, None)


def test_a_run_keeps_the_arguments_it_was_handed_out_with(server: Server) -> None:
    sweep = server.sweep({"lr": {"value": 1}})
    name = server.claim(server.agent(sweep))
    server.start(name, sweep, config={"extra": {"value": 2}, "_wandb": {"value": {}}})
    assert json.loads(server.run(name).config) == {
        "lr": {"value": 1},
        "extra": {"value": 2},
        "_wandb": {"value": {}},
    }
    assert json.loads(server.run(name).args or "") == {"lr": {"value": 1}}


def test_sweeps_and_runs_are_found_by_their_ids_only(server: Server) -> None:
    sweep = server.sweep()
    assert server.store.sweeps.require(global_id("Sweep", sweep.id)) == sweep
    for text in (global_id("Run", sweep.id), global_id("Sweep", 99), global_id("Sweep", -1), "x", "", "ä"):
        with pytest.raises(NotFoundError, match="does not exist"):
            server.store.sweeps.require(text)
        with pytest.raises(NotFoundError, match="does not exist"):
            server.store.runs.require(text)
    with pytest.raises(NotFoundError, match="sweep 'nope' does not exist in local/p"):
        server.do(lambda: server.store.runs.announce(server.project_row(), None, "nope", None, starts=True))  # type: ignore[arg-type]


def test_sweeps_are_listed_newest_first(server: Server) -> None:
    made = [server.sweep().id for _ in range(5)]
    page = server.store.sweeps.page
    found = [s.id for offset in (0, 2, 4) for s in page(server.project().id, offset, 2)]
    assert found == made[::-1]


@pytest.mark.parametrize("name", ["a/b", "..", ".", "a\\b", "a#b", "a?b", "a%2f", "a:b", "a\nb", "x" * 129])
def test_names_that_could_not_be_part_of_a_path_are_refused(server: Server, name: str) -> None:
    with pytest.raises(ClientError, match="a name has 1 to 128 characters and none of"):
        server.start(name)
    with pytest.raises(ClientError, match="a name has 1 to 128 characters and none of"):
        server.do(lambda: server.store.projects.require(name, "p"))


def test_projects_come_into_being_when_first_used(server: Server) -> None:
    assert server.store.projects.find("e", "q") is None
    made = server.do(lambda: server.store.projects.require("e", "q"))
    assert server.store.projects.require("e", "q") == server.store.projects.find("e", "q") == made
    default = server.do(lambda: server.store.projects.require(None, None))
    assert (default.entity, default.name) == ("local", "uncategorized")
    assert server.store.projects.page(None, 0, 10) == [default]


def test_of_many_sweeps_only_those_in_use_have_their_configurations_in_memory(server: Server) -> None:
    server.project()
    used, unused, *others = (server.sweep() for _ in range(MOST_CONFIGS + 1))
    config = server.store.sweeps.config
    known = [config(sweep) for sweep in (used, unused)]
    for sweep in others:
        config(sweep)
        assert config(used) is known[0]
    assert config(unused) is not known[1]
    assert repr(config(unused).parameters) == repr(known[1].parameters)


def test_what_each_trial_changes_is_small_however_many_values_there_are(server: Server) -> None:
    parameters = {"a": {"values": list(range(50_000))}}
    sweep = server.sweep(parameters)
    assert json.loads(server.config_text(sweep))["parameters"] == parameters
    row = server.store.database.row("SELECT * FROM sweeps WHERE id = ?", (sweep.id,))
    assert row is not None
    assert len(repr(tuple(row))) < 1000


def test_a_sweep_that_takes_the_number_of_an_undone_one_has_its_own_seed(server: Server) -> None:
    parameters = {"a": {"min": 0.0, "max": 1.0}}
    server.project()
    undone: list[Sweep] = []

    def create_and_fail() -> None:
        config = json.dumps({"method": "random", "parameters": parameters, "program": "train.py"})
        undone.append(server.store.sweeps.create(server.project_row(), SweepChange(config=config)))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        server.do(create_and_fail)
    sweep = server.sweep(parameters, method="random")
    assert (sweep.id, sweep.config_digest) == (undone[0].id, undone[0].config_digest)
    before = server.store.sweeps.config(sweep).search.args(0)
    server.reopen()
    assert server.store.sweeps.config(sweep).search.args(0) == before
