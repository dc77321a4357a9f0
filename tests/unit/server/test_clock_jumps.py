"""Clocks that are set, machines that sleep, a server that was stopped: nobody is declared dead because of it."""

from __future__ import annotations

import pytest

from tests.unit.server.support import FakeTime, Server
from wandb_sweep_server.clock import Liveness
from wandb_sweep_server.filestream import parse_post

EVERY_S = 5.0

by_hours = pytest.mark.parametrize("jump_s", [-6 * 3600.0, 6 * 3600.0])


def keep_house_for(server: Server, seconds: float) -> None:
    """As the server's process does it."""
    for _ in range(round(seconds / EVERY_S)):
        server.time.pass_s(EVERY_S)
        server.do(lambda: server.store.keep_house(EVERY_S))


@by_hours
def test_a_clock_that_is_set_makes_no_run_crash_and_keeps_none_alive(server: Server, jump_s: float) -> None:
    sweep = server.sweep()
    name = server.claim(server.agent(sweep))
    server.start(name, sweep)
    keep_house_for(server, 200.0)
    server.time.jump_s(jump_s)
    keep_house_for(server, 95.0)
    assert server.run(name).state == "running"
    keep_house_for(server, 10.0)
    assert server.run(name).state == "crashed"


@by_hours
def test_a_heartbeat_counts_whatever_the_clock_says(server: Server, jump_s: float) -> None:
    server.start("r")
    for _ in range(4):
        keep_house_for(server, 200.0)
        server.time.jump_s(jump_s)
        server.post("r", {})
    assert server.run("r").state == "running"


@by_hours
def test_a_trial_that_was_just_handed_out_has_the_same_time_to_start(server: Server, jump_s: float) -> None:
    agent = server.agent(server.sweep())
    name = server.claim(agent)
    server.time.jump_s(jump_s)
    server.time.pass_s(59.0)
    assert server.heartbeat(agent) == []
    server.time.pass_s(2.0)
    assert server.claim(agent) == name


@by_hours
def test_a_trial_handed_out_before_a_restart_has_time_to_start_after_it(server: Server, jump_s: float) -> None:
    agent = server.agent(server.sweep())
    name = server.claim(agent)
    server.time.jump_s(jump_s)
    server.reopen()
    server.time.pass_s(59.0)
    assert server.heartbeat(agent) == []
    server.time.pass_s(2.0)
    assert server.claim(agent) == name


@by_hours
def test_what_was_queued_first_under_another_time_is_offered_all_the_same(server: Server, jump_s: float) -> None:
    sweep = server.sweep({"a": {"values": [1]}})
    names = {server.claim(server.agent(sweep))}
    enqueue = server.store.agents.enqueue
    for _ in range(2):
        names.add(server.do(lambda: enqueue(server.sweep_now(sweep), server.project_row(), {}, None)).name)
        server.time.jump_s(jump_s)
    claimed = {server.claim(server.agent(sweep)) for _ in range(2)}
    assert len(claimed) == 2
    assert claimed < names


@by_hours
def test_an_open_sweep_keeps_the_server_up_though_the_clock_is_set(server: Server, jump_s: float) -> None:
    server.sweep()
    server.time.jump_s(jump_s)
    assert server.store.is_awaited()


def test_a_server_that_was_away_gives_everyone_time_to_be_heard_of(server: Server) -> None:
    """A stopped process, a suspended machine whose clock goes on, a disk that did not answer for an hour."""
    server.start("r")
    keep_house_for(server, 290.0)
    server.time.pass_s(3600.0)
    keep_house_for(server, 295.0)
    assert server.run("r").state == "running"
    keep_house_for(server, 15.0)
    assert server.run("r").state == "crashed"


def test_a_server_that_is_only_busy_pardons_nobody(server: Server) -> None:
    server.start("r")
    for _ in range(30):
        server.time.pass_s(2 * EVERY_S)
        server.do(lambda: server.store.keep_house(EVERY_S))
    keep_house_for(server, 5.0)
    assert server.run("r").state == "crashed"


def test_a_run_whose_end_could_not_be_stored_has_as_long_to_say_it_again(server: Server) -> None:
    sweep = server.sweep()
    name = server.claim(server.agent(sweep))
    server.start(name, sweep)
    for _ in range(3):
        keep_house_for(server, 200.0)
        server.post(name, {})

    def end_on_a_full_disk() -> None:
        server.store.runs.post(server.run(name), parse_post(b'{"complete": true, "exitcode": 0}'))
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        server.do(end_on_a_full_disk)
    keep_house_for(server, 290.0)
    assert server.run(name).state == "running"
    assert server.exit(name).state == "finished"


def test_of_runs_that_ended_nothing_is_kept_in_memory() -> None:
    time = FakeTime()
    liveness = Liveness(time.clock())
    for run_id in range(100):
        liveness.touch(run_id)
    time.pass_s(61.0)
    liveness.touch(100)
    liveness.forget_all_but({7})
    assert set(liveness._heard_s) == {7, 100}
