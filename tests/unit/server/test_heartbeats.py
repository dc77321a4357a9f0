"""What agents are told, and what the server concludes from what they say and from their silence."""

from __future__ import annotations

import json

import pytest

from tests.unit.server.support import Server
from wandb_sweep_server.errors import ClientError
from wandb_sweep_server.records import global_id
from wandb_sweep_server.run_states import Event

EXIT = [{"type": "exit"}]


def test_a_grid_is_handed_out_run_by_run_and_then_ends(server: Server) -> None:
    sweep = server.sweep()
    agent = server.agent(sweep)
    names = []
    for _ in range(4):
        names.append(server.claim(agent))
        server.start(names[-1], sweep)
        assert server.heartbeat(agent, names[-1]) == []
        server.exit(names[-1])
    assert server.sweep_now(sweep).state == "FINISHED"
    assert server.heartbeat(agent) == EXIT
    assert len(set(names)) == 4
    assert [(run.state, run.sweep_id, run.agent_id) for run in server.runs()] == [
        ("finished", sweep.id, agent.id)
    ] * 4


def test_a_command_has_what_agents_need(server: Server) -> None:
    (command,) = server.heartbeat(server.agent(server.sweep({"a": {"value": None}, "b": {"value": "x"}})))
    assert command.pop("run_id")
    assert command == {"type": "run", "args": {"a": {"value": None}, "b": {"value": "x"}}, "program": "train.py"}


def test_two_agents_get_different_trials(server: Server) -> None:
    sweep = server.sweep()
    claims = [server.claim(server.agent(sweep)) for _ in range(4)]
    assert len(set(claims)) == 4


def test_an_agent_with_a_fresh_offer_is_given_no_other(server: Server) -> None:
    agent = server.agent(server.sweep())
    server.claim(agent)
    server.time.pass_s(59)
    assert server.heartbeat(agent) == []


def test_an_offer_that_never_starts_is_made_again_under_the_same_name(server: Server) -> None:
    agent = server.agent(server.sweep())
    name = server.claim(agent)
    server.time.pass_s(61)
    (command,) = server.heartbeat(agent)
    assert (command["type"], command["run_id"]) == ("run", name)


def test_a_run_its_agent_lists_no_more_has_crashed_and_comes_back_before_new_trials(server: Server) -> None:
    sweep = server.sweep()
    first, second = server.agent(sweep), server.agent(sweep)
    name = server.claim(first)
    server.start(name, sweep)
    server.heartbeat(first, name)
    (command,) = server.heartbeat(first)
    assert (command["type"], command["run_id"]) == ("resume", name)
    assert command["args"] == json.loads(server.run(name).args or "")
    assert server.claim(second) != name


def test_a_run_is_offered_again_three_times_at_most(server: Server) -> None:
    sweep = server.sweep({"a": {"value": 1}})
    agent = server.agent(sweep)
    for _ in range(4):
        name = server.claim(agent)
        server.start(name, sweep)
        server.heartbeat(agent, name)
    assert server.heartbeat(agent) == EXIT
    assert (server.run(name).state, server.run(name).losses) == ("crashed", 3)
    assert server.sweep_now(sweep).state == "FINISHED"


@pytest.mark.parametrize("ending", ["silence", "exit code"])
def test_preemptions_cost_a_run_none_of_its_chances(server: Server, ending: str) -> None:
    sweep = server.sweep({"a": {"value": 1}})
    agent = server.agent(sweep)
    for _ in range(10):
        name = server.claim(agent)
        server.start(name, sweep)
        server.heartbeat(agent, name)
        server.post(name, {"preempting": True})
        if ending == "exit code":
            server.exit(name, 143)
    assert server.claim(agent) == name
    assert server.run(name).losses == 0


def test_preempted_runs_are_offered_before_crashed_and_enqueued_ones_each_in_turn(server: Server) -> None:
    sweep = server.sweep()
    first, second, third = (server.agent(sweep) for _ in range(3))
    crashed, preempted, preempted_later = (server.claim(agent) for agent in (first, second, third))
    for name in (crashed, preempted, preempted_later):
        server.start(name, sweep)
    enqueued = server.do(
        lambda: server.store.agents.enqueue(server.sweep_now(sweep), server.project_row(), {}, None)
    ).name
    server.do(lambda: server.store.runs.apply(server.run(crashed), Event.LOST))
    for name in (preempted, preempted_later):
        server.time.pass_s(1.0)
        server.post(name, {"preempting": True})
        server.exit(name, 1)
    agents = [server.agent(sweep) for _ in range(4)]
    assert [server.claim(agent) for agent in agents] == [preempted, preempted_later, crashed, enqueued]


@pytest.mark.parametrize("ends", [0, 1])
@pytest.mark.parametrize("has_started", [False, True])
def test_a_last_word_that_is_said_again_does_not_end_what_another_agent_has_now(
    server: Server, has_started: bool, ends: int
) -> None:
    # A server that is killed before it answers makes the SDK repeat the post.
    sweep = server.sweep({"a": {"values": [1]}})
    name = server.claim(server.agent(sweep))
    server.start(name, sweep)
    last_word = {"complete": True, "exitcode": 1, "files": {"wandb-summary.json": {"content": ['{"a": 1}']}}}
    server.post(name, {"preempting": True})
    assert server.post(name, last_word).state == "preempted"
    server.reopen()
    assert server.claim(server.agent(sweep)) == name
    if has_started:
        server.start(name, sweep)
    state = server.run(name).state
    assert server.post(name, last_word).state == state == ("running" if has_started else "pending")
    server.start(name, sweep)
    assert server.exit(name, ends).state == ("failed" if ends else "finished")


def test_a_second_process_may_end_with_the_words_of_the_first_where_they_say_little(server: Server) -> None:
    sweep = server.sweep()
    agent = server.agent(sweep)
    name = server.claim(agent)
    for state in ("preempted", "failed"):
        server.start(name, sweep)
        if state == "preempted":
            server.post(name, {"preempting": True})
        assert server.exit(name, 1).state == state


def test_a_preempted_run_stays_queued_while_its_process_takes_its_time_to_end(server: Server) -> None:
    # The exit code is reported before the process is gone, and the agent beats in between.
    sweep = server.sweep({"a": {"value": 1}})
    agent = server.agent(sweep)
    name = server.claim(agent)
    server.start(name, sweep)
    server.post(name, {"preempting": True})
    server.exit(name, 1)
    assert server.heartbeat(agent, name) == []
    (command,) = server.heartbeat(agent)
    assert (command["type"], command["run_id"]) == ("resume", name)


def test_a_silent_run_has_crashed_and_is_revived_by_its_agent_only(server: Server) -> None:
    sweep = server.sweep()
    agent = server.agent(sweep)
    name = server.claim(agent)
    server.start(name, sweep)
    server.heartbeat(agent, name)
    server.time.pass_s(299)
    server.keep_house()
    assert server.run(name).state == "running"
    server.time.pass_s(2)
    server.keep_house()
    assert (server.run(name).state, server.run(name).queued_at) == ("crashed", server.time.now_s)
    # Late words of a process that may be dead since long.
    server.post(name, {"files": {"output.log": {"offset": 0, "content": ["late"]}}})
    server.exit(name, 0)
    assert server.run(name).state == "crashed"
    server.heartbeat(agent, name)
    assert (server.run(name).state, server.run(name).queued_at) == ("running", None)


@pytest.mark.parametrize("sign", ["stream", "list", "announcement"])
def test_every_sign_of_life_counts(server: Server, sign: str) -> None:
    sweep = server.sweep()
    agent = server.agent(sweep)
    name = server.claim(agent)
    server.start(name, sweep)
    for _ in range(5):
        server.time.pass_s(200)
        if sign == "stream":
            server.post(name, {})
        elif sign == "list":
            server.heartbeat(agent, name)
        else:
            server.start(name, sweep)
        server.keep_house()
    assert server.run(name).state == "running"


def test_a_restarted_server_gives_everyone_time_to_be_heard_of(server: Server) -> None:
    name = server.start(None).name
    server.time.pass_s(10_000)
    server.reopen()
    server.keep_house()
    assert server.run(name).state == "running"
    server.time.pass_s(301)
    server.keep_house()
    assert server.run(name).state == "crashed"


def test_an_agent_that_was_away_must_stop_the_run_that_another_one_has_now(server: Server) -> None:
    sweep = server.sweep()
    away, other = server.agent(sweep), server.agent(sweep)
    name = server.claim(away)
    server.start(name, sweep)
    server.heartbeat(away, name)
    server.time.pass_s(301)
    server.keep_house()
    assert server.claim(other) == name
    server.start(name, sweep)
    server.heartbeat(other, name)
    assert server.heartbeat(away, name) == [{"type": "stop", "run_id": name}]
    # Nor does the end of its process there mean the end of the run.
    server.heartbeat(away)
    assert (server.run(name).state, server.run(name).agent_id) == ("running", other.id)


def test_a_run_that_is_to_stop_is_stopped_through_its_agent_and_counts_as_killed_whatever_it_says(
    server: Server,
) -> None:
    sweep = server.sweep()
    agent = server.agent(sweep)
    name = server.claim(agent)
    server.start(name, sweep)
    server.stop_run(name)
    assert server.heartbeat(agent, name) == [{"type": "stop", "run_id": name}]
    assert server.exit(name, 0).state == "killed"
    assert server.heartbeat(agent, name) == [{"type": "stop", "run_id": name}]
    assert server.claim(agent) != name


def test_a_queued_run_that_is_stopped_is_over_and_so_may_be_its_sweep(server: Server) -> None:
    sweep = server.sweep({"a": {"value": 1}})
    agent = server.agent(sweep)
    name = server.claim(agent)
    server.start(name, sweep)
    server.post(name, {"preempting": True})
    server.exit(name, 1)
    assert server.sweep_now(sweep).state == "RUNNING"
    run = server.stop_run(name)
    assert (run.state, run.queued_at) == ("killed", None)
    assert server.sweep_now(sweep).state == "FINISHED"


def test_stopping_a_run_that_has_ended_changes_nothing(server: Server) -> None:
    name = server.start(None).name
    server.exit(name)
    run = server.stop_run(name)
    assert (run.state, run.stop_requested) == ("finished", 0)


def test_a_queued_run_that_ends_after_all_is_not_offered_again(server: Server) -> None:
    sweep = server.sweep({"a": {"value": 1}})
    agent = server.agent(sweep)
    name = server.claim(agent)
    server.time.pass_s(301)
    server.keep_house()
    run = server.exit(name)
    assert (run.state, run.queued_at) == ("finished", None)
    assert server.heartbeat(agent) == EXIT


def test_no_agent_leaves_while_a_run_of_another_one_may_come_back(server: Server) -> None:
    sweep = server.sweep({"a": {"value": 1}})
    worker, idle = server.agent(sweep), server.agent(sweep)
    name = server.claim(worker)
    server.start(name, sweep)
    assert server.heartbeat(idle) == []
    server.time.pass_s(301)
    server.keep_house()
    assert server.claim(idle) == name


def test_a_restart_of_the_server_continues_the_grid_where_it_was(server: Server) -> None:
    sweep = server.sweep()
    names = [server.claim(server.agent(sweep)) for _ in range(2)]
    server.reopen()
    names += [server.claim(server.agent(sweep)) for _ in range(2)]
    handed_out = [json.loads(run.args or "") for run in server.runs()]
    assert [(args["a"]["value"], args["b"]["value"]) for args in handed_out] == [
        (1, "x"),
        (1, "y"),
        (2, "x"),
        (2, "y"),
    ]
    assert len(set(names)) == 4


def test_an_unknown_agent_is_told_to_exit(server: Server) -> None:
    for agent_id in (global_id("Agent", 99), global_id("Run", 1), "nonsense", ""):
        assert server.store.agents.heartbeat(agent_id, "{}") == EXIT


@pytest.mark.parametrize("run_state", ["{", "[]", '"a"', "7"])
def test_a_heartbeat_that_makes_no_sense_is_refused(server: Server, run_state: str) -> None:
    agent = server.agent(server.sweep())
    with pytest.raises(ClientError, match=r"^runState (must be a JSON object of|is not valid JSON)"):
        server.store.agents.heartbeat(global_id("Agent", agent.id), run_state)


@pytest.mark.parametrize("state", ["FINISHED", "CANCELED", "STOPPED"])
def test_no_agent_joins_a_sweep_that_has_ended(server: Server, state: str) -> None:
    sweep = server.sweep()
    server.set_sweep(sweep, state)
    with pytest.raises(ClientError, match=f"Sweep {sweep.name} is not running \\(its state is {state}\\)"):
        server.agent(sweep)


def test_an_agent_that_lists_a_queued_run_of_another_one_has_taken_it_over(server: Server) -> None:
    sweep = server.sweep()
    first, second, third = (server.agent(sweep) for _ in range(3))
    name = server.claim(first)
    server.start(name, sweep)
    server.post(name, {"preempting": True})
    server.exit(name, 75)
    # An agent that knows of it from elsewhere, as Hydra's agents do from their ledger.
    assert server.heartbeat(second, name) == []
    assert server.run(name).state == "running"
    assert server.claim(third) != name
    assert server.heartbeat(second, name) == []


def test_the_summary_of_an_ended_run_is_not_changed_by_a_late_uploader(server: Server) -> None:
    sweep = server.sweep()
    agent = server.agent(sweep)
    name = server.claim(agent)
    server.start(name, sweep)

    def summary(value: str) -> dict[str, object]:
        return {"wandb-summary.json": {"offset": 0, "content": [f'{{"word": "{value}"}}']}}

    server.post(name, {"files": summary("running")})
    server.post(name, {"files": summary("it was killed"), "complete": True, "exitcode": 137})
    server.post(name, {"files": summary("late")})
    assert server.run(name).summary == '{"word":"it was killed"}'
