"""What a page's buttons do to a sweep and its runs, and what agents are told of it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.server.pages import finish_trial
from tests.unit.server.support import Server
from wandb_sweep_server.errors import ClientError, NotFoundError
from wandb_sweep_server.pages.controls import ACTIONS, act
from wandb_sweep_server.records import Agent, Sweep
from wandb_sweep_server.run_states import Event

EXIT = [{"type": "exit"}]


@pytest.fixture
def sweep(server: Server) -> Sweep:
    return server.sweep()


@pytest.fixture
def agent(server: Server, sweep: Sweep) -> Agent:
    return server.agent(sweep)


def press(server: Server, sweep: Sweep, action: str, body: Any = None) -> dict[str, Any]:
    return server.do(lambda: act(server.store, server.sweep_now(sweep), action, {} if body is None else body))


def running(server: Server, sweep: Sweep, agent: Agent) -> str:
    name = server.claim(agent)
    server.start(name, sweep)
    server.heartbeat(agent, name)
    return name


def failed(server: Server, sweep: Sweep, agent: Agent) -> str:
    name = running(server, sweep, agent)
    server.exit(name, 1)
    return name


def test_agents_wait_while_a_sweep_is_paused_and_go_on_afterwards(server: Server, sweep: Sweep, agent: Agent) -> None:
    assert press(server, sweep, "pause") == {"state": "PAUSED"}
    assert server.heartbeat(agent) == []
    assert press(server, sweep, "resume") == {"state": "RUNNING"}
    assert server.claim(agent)


def test_no_trial_begins_after_a_stop_and_running_ones_finish(server: Server, sweep: Sweep, agent: Agent) -> None:
    name = running(server, sweep, agent)
    assert press(server, sweep, "stop") == {"state": "FINISHED"}
    assert server.heartbeat(agent, name) == []
    server.exit(name)
    assert server.run(name).state == "finished"
    assert server.heartbeat(agent) == EXIT


@pytest.mark.parametrize("first", [None, "stop", "pause"])
def test_a_cancelled_sweep_s_runs_are_stopped(server: Server, sweep: Sweep, agent: Agent, first: str | None) -> None:
    name = running(server, sweep, agent)
    if first:
        press(server, sweep, first)
    assert press(server, sweep, "cancel") == {"state": "CANCELED"}
    assert server.heartbeat(agent, name) == [{"type": "stop", "run_id": name}]
    server.exit(name, 255)
    assert server.heartbeat(agent) == EXIT


@pytest.mark.parametrize("action", ["pause", "stop", "cancel"])
@pytest.mark.parametrize("state", ["FINISHED", "CANCELED", "STOPPED"])
def test_what_has_ended_can_t_be_paused_stopped_or_cancelled(
    server: Server, sweep: Sweep, state: str, action: str
) -> None:
    server.set_sweep(sweep, state)
    with pytest.raises(ClientError, match=f"the sweep is {state}: there is nothing to {action}"):
        press(server, sweep, action)


def test_a_sweep_that_was_stopped_goes_on_with_resume(server: Server, sweep: Sweep) -> None:
    press(server, sweep, "stop")
    press(server, sweep, "resume")
    assert server.claim(server.agent(sweep))


def test_unknown_actions_are_named(server: Server, sweep: Sweep) -> None:
    with pytest.raises(NotFoundError, match=f"action 'explode' does not exist; there are {', '.join(ACTIONS)}"):
        press(server, sweep, "explode")


# --- retry ---


def test_all_that_failed_is_offered_again_and_what_was_stopped_if_it_is_named(
    server: Server, sweep: Sweep, agent: Agent
) -> None:
    finish_trial(server, sweep, agent)
    first = failed(server, sweep, agent)
    killed = running(server, sweep, agent)
    server.stop_run(killed)
    server.exit(killed, 255)
    going_on = running(server, sweep, agent)
    assert press(server, sweep, "retry") == {"runs": 1}
    assert press(server, sweep, "retry") == {"runs": 0}
    assert press(server, sweep, "retry", {"runs": [killed]}) == {"runs": 1}
    server.exit(going_on)
    for name in (first, killed):
        (command,) = server.heartbeat(agent)
        assert (command["type"], command["run_id"]) == ("resume", name)
        server.start(name, sweep)
        server.exit(name)
    assert server.heartbeat(agent) == EXIT
    assert server.sweep_now(sweep).state == "FINISHED"
    assert {run.state for run in server.runs()} == {"finished"}


def test_a_crashed_run_gets_all_its_chances_again(server: Server) -> None:
    sweep = server.sweep({"a": {"value": 1}})
    agent = server.agent(sweep)
    for _ in range(4):
        name = running(server, sweep, agent)
        server.do(lambda name=name: server.store.runs.apply(server.run(name), Event.LOST))
    assert (server.run(name).state, server.run(name).queued_at) == ("crashed", None)
    assert server.sweep_now(sweep).state == "FINISHED"
    press(server, sweep, "retry")
    assert server.sweep_now(sweep).state == "RUNNING"
    assert (server.claim(server.agent(sweep)), server.run(name).losses) == (name, 0)


@pytest.mark.parametrize("ended", ["FINISHED", "CANCELED", "STOPPED"])
def test_a_sweep_that_has_ended_runs_again(server: Server, sweep: Sweep, agent: Agent, ended: str) -> None:
    failed(server, sweep, agent)
    server.set_sweep(sweep, ended)
    assert press(server, sweep, "retry")["runs"] == 1
    assert server.sweep_now(sweep).state == "RUNNING"


def test_a_paused_sweep_stays_paused(server: Server, sweep: Sweep, agent: Agent) -> None:
    failed(server, sweep, agent)
    press(server, sweep, "pause")
    press(server, sweep, "retry")
    assert server.sweep_now(sweep).state == "PAUSED"


def test_nothing_to_try_again_changes_nothing(server: Server, sweep: Sweep) -> None:
    server.set_sweep(sweep, "FINISHED")
    assert press(server, sweep, "retry") == {"runs": 0}
    assert server.sweep_now(sweep).state == "FINISHED"


def test_only_the_named_runs_are_offered_again(server: Server, sweep: Sweep, agent: Agent) -> None:
    failed(server, sweep, agent)
    second = failed(server, sweep, agent)
    assert press(server, sweep, "retry", {"runs": [second]}) == {"runs": 1}
    assert server.claim(agent) == second


def test_where_no_agent_is_left_the_answer_says_what_brings_some(server: Server, sweep: Sweep, agent: Agent) -> None:
    failed(server, sweep, agent)
    server.set_sweep(sweep, "FINISHED")
    assert server.heartbeat(agent) == EXIT
    answer = press(server, sweep, "retry")
    assert answer["runs"] == 1
    assert "hydra-sweep retry DIR" in answer["message"]


def test_what_can_t_be_tried_again_is_refused_by_name(server: Server, sweep: Sweep, agent: Agent) -> None:
    finished = finish_trial(server, sweep, agent)
    other = server.sweep()
    elsewhere = failed(server, other, server.agent(other))
    server.start("own", sweep)
    server.exit("own", 1)
    crashed = running(server, sweep, agent)
    server.do(lambda: server.store.runs.apply(server.run(crashed), Event.LOST))
    for name, words in {
        finished: "is finished",
        elsewhere: "does not exist in sweep",
        "nothing": "does not exist in sweep",
        "own": "was started by no agent",
        crashed: "is on offer already",
    }.items():
        with pytest.raises(ClientError, match=f"{name}.* {words}"):
            press(server, sweep, "retry", {"runs": [name]})


@pytest.mark.parametrize("body", [[], "x", 1, {"runs": "abc"}, {"runs": [1]}, {"runs": {}}])
def test_a_wrong_body_is_refused(server: Server, sweep: Sweep, body: Any) -> None:
    with pytest.raises(ClientError, match="retry takes"):
        press(server, sweep, "retry", body)


def test_nothing_is_offered_again_if_one_of_them_can_t_be(server: Server, sweep: Sweep, agent: Agent) -> None:
    name = failed(server, sweep, agent)
    with pytest.raises(ClientError):
        press(server, sweep, "retry", {"runs": [name, "nothing"]})
    assert server.run(name).queued_at is None
