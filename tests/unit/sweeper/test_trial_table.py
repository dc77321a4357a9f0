import tracemalloc
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_plugins.hydra_wandb_sweeper._ledger import Trial
from hydra_plugins.hydra_wandb_sweeper._outcome import FAILED, FINISHED, STOPPED
from hydra_plugins.hydra_wandb_sweeper._trial_table import QUEUED, RUNNING, TrialHistory, TrialTable

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
TRIALS = st.builds(
    Trial,
    number=st.integers(0, 20),
    attempt=st.integers(0, 9),
    run_id=st.text(),
    args=st.dictionaries(st.text(), JSON, max_size=4),
    failures=st.integers(0, 9),
    resumes=st.booleans(),
)
HISTORIES = st.builds(
    TrialHistory,
    trial=TRIALS,
    state=st.sampled_from([RUNNING, QUEUED, FINISHED, FAILED, STOPPED]),
    agent=st.text(),
    metrics=st.dictionaries(st.text(), st.floats(allow_nan=False)),
    error_line=st.none() | st.text(),
    output_dir=st.none() | st.text(),
    started=st.floats(0, 1e10),
    duration_s=st.none() | st.floats(0, 1e6),
    is_preempting=st.booleans(),
)


@given(st.lists(HISTORIES))
def test_a_table_holds_what_a_dict_would(histories: list[TrialHistory]) -> None:
    table, held = TrialTable(), {}
    for history in histories:
        table[history.trial.number] = held[history.trial.number] = history
        assert len(table) == len(held)
    assert dict(table) == held
    assert list(table) == sorted(held)
    assert 21 not in table
    assert -1 not in table


def test_an_open_trial_is_held_itself_and_an_ended_one_is_to_be_set_when_it_changes() -> None:
    table = TrialTable()
    history = TrialHistory(Trial(0, 0, "run"))
    table[0] = history
    assert table[0] is history
    history.state = FINISHED
    table[0] = history
    table[0].metrics = {"loss": 1.0}
    assert table[0].metrics == {}
    table[0] = replace(table[0], metrics={"loss": 1.0})
    assert table[0].metrics == {"loss": 1.0}
    del table[0]
    assert 0 not in table


def test_what_is_not_there_cannot_be_had_or_removed() -> None:
    table = TrialTable()
    table[2] = TrialHistory(Trial(2, 0, "run"), FINISHED)
    for number in (0, 1, 3, -1):
        with pytest.raises(KeyError):
            table[number]
        with pytest.raises(KeyError):
            del table[number]
    assert list(table) == [2]


@pytest.mark.parametrize("state", [FINISHED, FAILED, STOPPED])
def test_ended_trials_are_no_burden_to_a_fork(state: str) -> None:
    args: dict[str, Any] = {f"model.parameter_{n}": n / 7 for n in range(4)}
    where = "/home/somebody/project/multirun/2026-01-01/12-00-00/17"
    table = TrialTable()
    table[0] = TrialHistory(Trial(0, 0, "run"), state)
    tracemalloc.start()
    for number in range(1, 1001):
        trial = Trial(number, 0, "ab12cd34", args)
        table[number] = TrialHistory(trial, state, "agent-3", {"loss": 0.5}, None, where, 1.7e9, 60.0)
    held_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held_bytes < 20 * 1000
