"""Every situation of a sweep, and the order of the rules that decide it."""

from __future__ import annotations

import itertools

import pytest

from wandb_sweep_server.errors import ClientError
from wandb_sweep_server.scheduling import STATES, Action, Situation, decide, is_complete, requested_state

ALL = [
    Situation(state, busy, queued, exhausted, live)
    for state, busy, queued, exhausted, live in itertools.product(STATES, *[(True, False)] * 4)
]
IDLE = [s for s in ALL if not s.agent_is_busy]
ENDED = ("FINISHED", "CANCELED", "STOPPED")


def expected(situation: Situation) -> Action:
    match situation:
        case Situation(agent_is_busy=True) | Situation(sweep_state="PAUSED"):
            return Action.WAIT
        case Situation(sweep_state="FINISHED" | "CANCELED" | "STOPPED"):
            return Action.EXIT
        case Situation(has_queued=True):
            return Action.RESUME
        case Situation(is_exhausted=False):
            return Action.RUN
        case Situation(has_live=True):
            return Action.WAIT
    return Action.EXIT


@pytest.mark.parametrize("situation", ALL, ids=str)
def test_every_situation_is_decided(situation: Situation) -> None:
    assert decide(situation) is expected(situation)


def test_a_busy_agent_is_never_told_to_exit_nor_given_more() -> None:
    assert {decide(s) for s in ALL if s.agent_is_busy} == {Action.WAIT}


def test_a_paused_sweep_keeps_its_agents_waiting() -> None:
    assert {decide(s) for s in ALL if s.sweep_state == "PAUSED"} == {Action.WAIT}


def test_an_ended_sweep_hands_out_nothing() -> None:
    assert {decide(s) for s in IDLE if s.sweep_state in ENDED} == {Action.EXIT}


def test_queued_runs_come_before_new_trials() -> None:
    open_ones = [s for s in IDLE if s.sweep_state in ("PENDING", "RUNNING") and s.has_queued]
    assert {decide(s) for s in open_ones} == {Action.RESUME}


def test_an_open_sweep_keeps_an_agent_while_a_run_may_come_back() -> None:
    assert all(decide(s) is not Action.EXIT for s in ALL if s.sweep_state == "RUNNING" and s.has_live)


@pytest.mark.parametrize("situation", ALL, ids=str)
def test_a_sweep_is_complete_once_nothing_is_left_nor_under_way(situation: Situation) -> None:
    is_open = situation.sweep_state in ("PENDING", "RUNNING")
    nothing_left = situation.is_exhausted and not situation.has_queued and not situation.has_live
    assert is_complete(situation) == (is_open and nothing_left)
    if is_complete(situation) and not situation.agent_is_busy:
        assert decide(situation) is Action.EXIT


REFUSED = {
    **{(state, "PENDING"): "cannot become PENDING again; resume it" for state in STATES if state != "PENDING"},
    **{(state, "PAUSED"): "cannot be paused; resume it first" for state in ENDED},
}


@pytest.mark.parametrize(("current", "wanted"), list(itertools.product(STATES, STATES)))
def test_users_may_ask_for_every_state_but_a_few(current: str, wanted: str) -> None:
    if (current, wanted) in REFUSED:
        with pytest.raises(ClientError, match=f"a sweep that is {current} {REFUSED[current, wanted]}"):
            requested_state(current, wanted)
    else:
        assert requested_state(current, wanted) == wanted
        assert requested_state(current, wanted.lower()) == wanted


@pytest.mark.parametrize("wanted", ["", "DONE", "running!"])
def test_a_state_that_does_not_exist_is_refused_by_name(wanted: str) -> None:
    with pytest.raises(ClientError, match=f"sweep state '{wanted.upper()}' does not exist; states are PENDING, "):
        requested_state("RUNNING", wanted)
