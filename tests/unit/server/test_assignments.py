"""Who had a run when, and when agents came and went."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.server.support import Server
from wandb_sweep_server.assignments import how_it_ended
from wandb_sweep_server.errors import ClientError, NotFoundError
from wandb_sweep_server.records import Agent, Sweep, global_id
from wandb_sweep_server.run_states import CRASHED, FAILED, FINISHED, KILLED, PENDING, PREEMPTED, Event


def assignments(server: Server) -> list[tuple[str, str | None, float, float | None, str | None]]:
    """Run, agent, begin and end in seconds since the server began, and how."""
    rows = server.store.database.rows(
        "SELECT runs.name, agents.name AS agent, began_at, assignments.ended_at, how FROM assignments "
        "JOIN runs ON runs.id = run_id LEFT JOIN agents ON agents.id = assignments.agent_id ORDER BY assignments.id"
    )
    zero = 1_700_000_000.0
    return [
        (
            r["name"],
            r["agent"],
            r["began_at"] - zero,
            None if r["ended_at"] is None else r["ended_at"] - zero,
            r["how"],
        )
        for r in rows
    ]


def ended(server: Server, agent: Agent) -> tuple[str | None, float | None]:
    now = server.store.agents.by_id(agent.id)
    assert now is not None
    return now.ended, None if now.ended_at is None else now.ended_at - 1_700_000_000.0


@pytest.fixture
def sweep(server: Server) -> Sweep:
    return server.sweep()


@pytest.mark.parametrize(
    ("state", "event", "how"),
    [
        (FINISHED, Event.EXIT_ZERO, "finished"),
        (FAILED, Event.EXIT_NONZERO, "failed"),
        (KILLED, Event.EXIT_ZERO, "killed"),
        (KILLED, Event.LOST, "killed"),
        (PREEMPTED, Event.EXIT_NONZERO, "handed over"),
        (PREEMPTED, Event.LOST, "handed over"),
        (PENDING, Event.LOST, "lost"),
        (CRASHED, Event.LOST, "lost"),
    ],
)
def test_how_somebody_s_time_with_a_run_ends(state: str, event: Event, how: str) -> None:
    assert how_it_ended(state, event) == how


@pytest.mark.parametrize(("code", "how"), [(0, "finished"), (1, "failed")])
def test_an_agent_has_a_run_from_its_hand_out_to_its_end(server: Server, sweep: Sweep, code: int, how: str) -> None:
    agent = server.agent(sweep)
    server.time.pass_s(1)
    name = server.claim(agent)
    assert assignments(server) == [(name, agent.name, 1.0, None, None)]
    server.time.pass_s(1)
    server.start(name, sweep)
    server.time.pass_s(8)
    server.exit(name, code)
    server.time.pass_s(5)
    server.exit(name, code)  # it missed the answer
    assert assignments(server) == [(name, agent.name, 1.0, 10.0, how)]


def test_a_preempted_run_is_handed_over(server: Server, sweep: Sweep) -> None:
    first, second = server.agent(sweep), server.agent(sweep)
    name = server.claim(first)
    server.start(name, sweep)
    server.post(name, {"preempting": True})
    server.time.pass_s(1)
    server.exit(name, 143)
    server.time.pass_s(1)
    assert server.claim(second) == name
    assert assignments(server) == [
        (name, first.name, 0.0, 1.0, "handed over"),
        (name, second.name, 2.0, None, None),
    ]


def test_a_run_of_an_agent_that_died_is_lost_and_so_is_the_agent(server: Server, sweep: Sweep) -> None:
    dead, other = server.agent(sweep), server.agent(sweep)
    name = server.claim(dead)
    server.start(name, sweep)
    server.time.pass_s(301)
    server.heartbeat(other)
    server.keep_house()
    assert assignments(server)[0] == (name, dead.name, 0.0, 301.0, "lost")
    assert ended(server, dead) == ("died", 301.0)
    assert ended(server, other) == (None, None)
    # It was only away: the network is back.
    server.heartbeat(dead, name)
    assert ended(server, dead) == (None, None)
    assert assignments(server)[-1][:2] == (name, dead.name)


def test_a_run_whose_process_is_gone_is_lost_and_its_agent_is_not(server: Server, sweep: Sweep) -> None:
    agent = server.agent(sweep)
    name = server.claim(agent)
    server.start(name, sweep)
    server.heartbeat(agent, name)
    assert server.claim(agent) == name
    assert [how for *_, how in assignments(server)] == ["lost", None]
    assert ended(server, agent) == (None, None)


@pytest.mark.parametrize(("makes_room", "how"), [(True, "handed over"), (False, "lost")])
def test_a_run_that_another_agent_lists_was_handed_over_or_lost(
    server: Server, sweep: Sweep, makes_room: bool, how: str
) -> None:
    first, second = server.agent(sweep), server.agent(sweep)
    name = server.claim(first)
    server.start(name, sweep)
    server.heartbeat(first, name)
    if makes_room:
        server.post(name, {"preempting": True})
    server.time.pass_s(3)
    server.heartbeat(second, name)
    assert assignments(server) == [(name, first.name, 0.0, 3.0, how), (name, second.name, 3.0, None, None)]


def end(server: Server, agent: str, how: str) -> None:
    server.do(lambda: server.store.agents.end(agent, how))


@pytest.mark.parametrize("how", ["finished", "died"])
def test_an_agent_has_ended_once_somebody_says_so_and_only_once(server: Server, sweep: Sweep, how: str) -> None:
    agent = server.agent(sweep)
    server.time.pass_s(3)
    end(server, global_id("Agent", agent.id), how)
    assert ended(server, agent) == (how, 3.0)
    server.time.pass_s(3)
    end(server, global_id("Agent", agent.id), "finished")
    assert ended(server, agent) == (how, 3.0)
    server.heartbeat(agent)
    assert ended(server, agent) == (None, None)


def test_what_a_dead_agent_held_is_lost_though_another_one_goes_on_with_it(server: Server, sweep: Sweep) -> None:
    dead, other = server.agent(sweep), server.agent(sweep)
    name = server.claim(dead)
    server.start(name, sweep)
    server.heartbeat(dead, name)
    server.time.pass_s(3)
    end(server, global_id("Agent", dead.id), "died")
    assert assignments(server) == [(name, dead.name, 0.0, 3.0, "lost")]
    server.time.pass_s(1)
    server.heartbeat(other, name)
    server.exit(name, 0)
    assert assignments(server) == [(name, dead.name, 0.0, 3.0, "lost"), (name, other.name, 4.0, 4.0, "finished")]
    assert ended(server, dead) == ("died", 3.0)


def test_an_agent_ends_in_one_of_two_ways_and_has_to_be_there(server: Server, sweep: Sweep) -> None:
    agent = server.agent(sweep)
    with pytest.raises(ClientError, match="how must be finished or died, not 'gone'"):
        end(server, global_id("Agent", agent.id), "gone")
    with pytest.raises(NotFoundError, match=r"agent '.*' does not exist"):
        end(server, global_id("Agent", 99), "died")


def test_a_failed_run_that_its_agent_tries_again_has_two(server: Server, sweep: Sweep) -> None:
    agent = server.agent(sweep)
    name = server.claim(agent)
    for code in (1, 0):
        server.start(name, sweep)
        server.time.pass_s(1)
        server.exit(name, code)
    assert assignments(server) == [(name, agent.name, 0.0, 1.0, "failed"), (name, agent.name, 1.0, 2.0, "finished")]


def test_a_run_that_a_task_has_finished_and_says_more_of_was_had_all_the_time(server: Server, sweep: Sweep) -> None:
    agent = server.agent(sweep)
    name = server.claim(agent)
    server.start(name, sweep)
    server.time.pass_s(5)
    server.exit(name)
    server.time.pass_s(1)
    server.start(name, sweep)
    assert assignments(server) == [(name, agent.name, 0.0, None, None)]
    server.time.pass_s(2)
    server.exit(name)
    assert assignments(server) == [(name, agent.name, 0.0, 8.0, "finished")]


def test_an_agent_goes_on_with_its_sweep_s_last_run_though_the_task_has_finished_it(server: Server) -> None:
    sweep = server.sweep({"a": {"value": 1}})
    agent = server.agent(sweep)
    name = server.claim(agent)
    server.start(name, sweep)
    server.exit(name)
    server.time.pass_s(59)
    assert server.sweep_now(sweep).state == "FINISHED"
    server.keep_house()
    assert ended(server, agent) == (None, None)
    server.start(name, sweep)
    server.time.pass_s(2)
    server.exit(name)
    assert assignments(server) == [(name, agent.name, 0.0, 61.0, "finished")]
    server.heartbeat(agent)
    assert ended(server, agent) == ("finished", 61.0)


@pytest.mark.parametrize("meanwhile", ["another run", "the agent's end"])
def test_a_finished_run_that_somebody_resumes_later_is_had_anew(server: Server, meanwhile: str) -> None:
    sweep = server.sweep({"a": {"values": [1, 2]}} if meanwhile == "another run" else {"a": {"value": 1}})
    agent = server.agent(sweep)
    name = server.claim(agent)
    server.start(name, sweep)
    server.exit(name)
    server.heartbeat(agent)
    server.time.pass_s(100)
    server.start(name, sweep)
    assert [(run, began) for run, _, began, *_ in assignments(server) if run == name] == [(name, 0.0), (name, 100.0)]


def test_a_run_that_no_agent_began_is_had_by_nobody_we_know(server: Server, sweep: Sweep) -> None:
    server.start("own", sweep)
    server.start("without a sweep")
    server.exit("own")
    assert assignments(server) == [("own", None, 0.0, 0.0, "finished")]


def test_a_run_that_joins_a_sweep_later_is_had_from_then_on(server: Server, sweep: Sweep) -> None:
    server.start("r")
    server.time.pass_s(5)
    server.start("r", sweep)
    assert assignments(server) == [("r", None, 5.0, None, None)]


def test_an_enqueued_run_is_nobody_s_until_it_is_handed_out(server: Server, sweep: Sweep) -> None:
    run = server.do(
        lambda: server.store.agents.enqueue(server.sweep_now(sweep), server.project_row(), {"a": {"value": 1}}, None)
    )
    assert assignments(server) == []
    assert server.claim(server.agent(sweep)) == run.name
    assert len(assignments(server)) == 1


def test_a_killed_run_is_had_until_its_process_is_gone(server: Server, sweep: Sweep) -> None:
    name = server.claim(server.agent(sweep))
    server.start(name, sweep)
    server.set_sweep(sweep, "CANCELED")
    assert assignments(server)[0][3:] == (None, None)
    server.exit(name, 255)
    assert assignments(server)[0][4] == "killed"


def test_a_deleted_run_takes_its_own_along(server: Server, sweep: Sweep) -> None:
    agent = server.agent(sweep)
    first = server.claim(agent)
    server.start(first, sweep)
    server.exit(first)
    second = server.claim(agent)
    server.do(lambda: server.store.runs.delete(server.run(first)))
    assert [run for run, *_ in assignments(server)] == [second]


def test_all_of_it_is_there_after_a_restart(server: Server, sweep: Sweep) -> None:
    agent = server.agent(sweep)
    first = server.claim(agent)
    server.start(first, sweep)
    server.exit(first)
    server.claim(agent)
    before = assignments(server)
    server.reopen()
    assert assignments(server) == before


# --- agents ---


def test_an_agent_that_is_told_to_exit_has_finished(server: Server) -> None:
    sweep = server.sweep({"a": {"value": 1}})
    agent = server.agent(sweep)
    name = server.claim(agent)
    server.start(name, sweep)
    server.exit(name)
    server.time.pass_s(7)
    assert server.heartbeat(agent) == [{"type": "exit"}]
    assert ended(server, agent) == ("finished", 7.0)


def test_an_agent_that_says_no_more_has_left_after_its_last_run(server: Server, sweep: Sweep) -> None:
    agent, other = server.agent(sweep), server.agent(sweep)
    name = server.claim(agent)
    server.start(name, sweep)
    server.time.pass_s(20)
    server.heartbeat(agent, name)
    server.exit(name)
    server.time.pass_s(299)
    server.keep_house()
    assert ended(server, agent) == (None, None)
    server.heartbeat(other, "x")
    server.time.pass_s(2)
    server.keep_house()
    assert ended(server, agent) == ("finished", 20.0)
    assert ended(server, other) == (None, None)


@pytest.mark.parametrize(
    ("state", "silence_s", "end"), [("PAUSED", 1000, None), ("FINISHED", 59, None), ("FINISHED", 61, "finished")]
)
def test_silent_agents_of_a_paused_sweep_are_waited_for_and_those_of_one_that_has_ended_not_for_long(
    server: Server, sweep: Sweep, state: str, silence_s: int, end: str | None
) -> None:
    agent = server.agent(sweep)
    server.set_sweep(sweep, state)
    server.time.pass_s(silence_s)
    server.keep_house()
    assert ended(server, agent)[0] == end


def test_a_busy_agent_has_not_ended_however_long_its_trial_takes(server: Server, sweep: Sweep) -> None:
    agent = server.agent(sweep)
    name = server.claim(agent)
    server.start(name, sweep)
    server.set_sweep(sweep, "FINISHED")
    for _ in range(10):
        server.time.pass_s(200)
        server.post(name, {})
        server.keep_house()
    assert ended(server, agent) == (None, None)


def test_a_restart_ends_no_agent(server: Server, sweep: Sweep) -> None:
    agent = server.agent(sweep)
    server.time.pass_s(10_000)
    server.reopen()
    server.keep_house()
    assert ended(server, agent) == (None, None)


# --- on a user's wish ---


def fail(server: Server, sweep: Sweep, agent: Agent) -> str:
    name = server.claim(agent)
    server.start(name, sweep)
    server.exit(name, 1)
    return name


def test_a_run_that_is_offered_again_comes_as_a_resume_that_says_so(server: Server, sweep: Sweep) -> None:
    agent = server.agent(sweep)
    name = fail(server, sweep, agent)
    args: Any = json.loads(server.run(name).args or "")
    server.do(lambda: server.store.runs.offer_again(server.run(name)))
    assert server.heartbeat(agent) == [
        {"type": "resume", "run_id": name, "args": args, "program": "train.py", "retry": True}
    ]
    assert (server.run(name).state, server.run(name).is_retry) == ("pending", 0)
    server.start(name, sweep)
    server.exit(name, 0)
    assert [how for *_, how in assignments(server)] == ["failed", "finished"]


def test_a_resume_that_nobody_wished_for_says_nothing(server: Server, sweep: Sweep) -> None:
    agent = server.agent(sweep)
    name = server.claim(agent)
    server.start(name, sweep)
    server.heartbeat(agent, name)
    (command,) = server.heartbeat(agent)
    assert command["type"] == "resume"
    assert "retry" not in command


def test_a_run_that_starts_by_itself_is_offered_no_more(server: Server, sweep: Sweep) -> None:
    agent = server.agent(sweep)
    name = fail(server, sweep, agent)
    server.do(lambda: server.store.runs.offer_again(server.run(name)))
    server.start(name, sweep)
    run = server.run(name)
    assert (run.state, run.queued_at, run.is_retry) == ("running", None, 0)
