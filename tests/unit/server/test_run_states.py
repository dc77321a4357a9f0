"""The whole table of what becomes of a run, written out a second time, and the rules behind it."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wandb_sweep_server.run_states import ENDED, LIVE, STATES, Event, Outcome, next_state

# The columns: START, PREEMPTING, EXIT_ZERO, EXIT_NONZERO, LOST, LISTED; "+" is "and offered again".
TABLE = """
pending    | running    | pending    | finished   | failed     | pending+   | pending
running    | running    | preempting | finished   | failed     | crashed+   | running
preempting | preempting | preempting | finished   | preempted+ | preempted+ | preempting
preempted  | running    | preempted  | preempted  | preempted  | preempted  | preempted
finished   | running    | finished   | finished   | finished   | finished   | finished
failed     | running    | failed     | failed     | failed     | failed     | failed
crashed    | running    | crashed    | crashed    | crashed    | crashed    | running
killed     | running    | killed     | killed     | killed     | killed     | killed
"""
CELLS = [
    (state.strip(), event, cell.strip())
    for state, *cells in (line.split("|") for line in TABLE.strip().splitlines())
    for event, cell in zip(Event, cells, strict=True)
]
ENDINGS = (Event.EXIT_ZERO, Event.EXIT_NONZERO, Event.LOST)
ANY_STATE, ANY_EVENT = st.sampled_from(STATES), st.sampled_from(Event)


def test_the_table_has_every_state_and_every_event() -> None:
    assert {(state, event) for state, event, _ in CELLS} == set(itertools.product(STATES, Event))


@pytest.mark.parametrize(("state", "event", "cell"), CELLS)
def test_the_next_state_is_that_of_the_table(state: str, event: Event, cell: str) -> None:
    expected = Outcome(cell.removesuffix("+"), requeue=cell.endswith("+"))
    assert next_state(state, event, stop_requested=False) == expected


@pytest.mark.parametrize(("state", "event"), list(itertools.product(LIVE, ENDINGS)))
@pytest.mark.parametrize("may_requeue", [True, False])
def test_a_stop_that_was_asked_for_outranks_every_exit_code_and_loss(
    state: str, event: Event, may_requeue: bool
) -> None:
    assert next_state(state, event, stop_requested=True, may_requeue=may_requeue) == Outcome("killed")


@pytest.mark.parametrize(
    ("state", "event"), list(itertools.product(STATES, (Event.START, Event.PREEMPTING, Event.LISTED)))
)
def test_a_stop_that_was_asked_for_ends_nothing_by_itself(state: str, event: Event) -> None:
    assert next_state(state, event, stop_requested=True) == next_state(state, event, stop_requested=False)


@given(ANY_STATE, ANY_EVENT, st.booleans(), st.booleans())
def test_every_event_leads_from_a_state_to_a_state(
    state: str, event: Event, stop_requested: bool, may_requeue: bool
) -> None:
    outcome = next_state(state, event, stop_requested=stop_requested, may_requeue=may_requeue)
    assert outcome.state in STATES
    # Once offered again means: not finished, not failed by its own code, not stopped.
    assert not outcome.requeue or outcome.state in ("pending", "crashed", "preempted")


@given(st.sampled_from(ENDED), st.sampled_from(ENDINGS), st.booleans(), st.booleans())
def test_nothing_that_comes_late_changes_an_ended_run(
    state: str, event: Event, stop_requested: bool, may_requeue: bool
) -> None:
    assert next_state(state, event, stop_requested=stop_requested, may_requeue=may_requeue) == Outcome(state)


@given(ANY_STATE, ANY_EVENT)
def test_only_a_process_or_its_agent_revives(state: str, event: Event) -> None:
    revived = state in ENDED and next_state(state, event, stop_requested=False).state in LIVE
    assert revived == (state in ENDED and (event is Event.START or (state, event) == ("crashed", Event.LISTED)))


@pytest.mark.parametrize(
    ("state", "outcome"),
    [
        ("pending", Outcome("crashed")),
        ("running", Outcome("crashed")),
        # However often a cluster preempts it.
        ("preempting", Outcome("preempted", requeue=True)),
    ],
)
def test_a_run_lost_too_often_is_not_offered_again(state: str, outcome: Outcome) -> None:
    assert next_state(state, Event.LOST, stop_requested=False, may_requeue=False) == outcome
