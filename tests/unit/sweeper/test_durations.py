"""How long trials take, as an agent knows it when it decides whether another one fits into its job."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_plugins.hydra_wandb_sweeper._durations import Durations
from hydra_plugins.hydra_wandb_sweeper._ledger import Ledger, Trial
from hydra_plugins.hydra_wandb_sweeper._settle import AgentSummary
from hydra_plugins.hydra_wandb_sweeper._walltime import WallTime
from tests.unit.sweeper.test_agent import SETTINGS, Bench, FakeIsolation, FakeServer, finishes
from tests.unit.sweeper.test_ledger import RECORD


@pytest.fixture
def others(tmp_path: Path) -> Ledger:
    """The ledger as another agent writes it."""
    Ledger.create(tmp_path, RECORD, "supervisor")
    return Ledger(tmp_path, "other")


def end(ledger: Ledger, duration_s: float | None, state: str = "finished") -> None:
    ledger.record("ended", Trial(0, 0, "run"), state=state, duration_s=duration_s, final=True)


def test_trials_of_all_agents_count_that_have_finished(others: Ledger) -> None:
    end(others, 60.0)
    end(others, 999.0, state="failed")
    end(others, None)  # recorded for an agent that died right after it
    durations = Durations(others.reader())
    durations.add(30.0)
    assert durations.longest_s(1000.0) == 60.0
    durations.add(61.0)
    assert durations.longest_s(1000.0) == 61.0


def test_the_ledger_is_read_again_when_half_of_the_time_has_passed_and_no_sooner(others: Ledger) -> None:
    durations = Durations(others.reader())
    assert durations.longest_s(1000.0) is None
    end(others, 60.0)
    assert durations.longest_s(501.0) is None
    assert durations.longest_s(500.0) == 60.0
    end(others, 70.0)
    assert durations.longest_s(251.0) == 60.0
    assert durations.longest_s(250.0) == 70.0


class CountingReader:
    """reads: how often it was asked."""

    def __init__(self) -> None:
        self.reads = 0

    def new_events(self) -> list[dict[str, Any]]:
        self.reads += 1
        return []


@given(st.lists(st.floats(min_value=1.0, max_value=172_800.0), min_size=1, max_size=300))
def test_the_number_of_reads_does_not_grow_with_the_number_of_trials(lefts_s: list[float]) -> None:
    reader = CountingReader()
    durations = Durations(reader)  # type: ignore[arg-type]
    for left_s in sorted(lefts_s, reverse=True):
        durations.longest_s(left_s)
    assert 1 <= reader.reads <= math.log2(172_800.0) + 1


def run_beside(directory: Path, others_took_s: float) -> AgentSummary:
    """An agent that has 170 s left after its second trial, during which a long one of another agent has ended."""
    now = 0.0
    bench = Bench(directory, FakeServer(4), FakeIsolation(finishes))
    bench.settings = replace(SETTINGS, max_retries=0)
    bench.wall_time = WallTime(800.0, 30.0, lambda: now)

    def time_passes(trial: Trial) -> None:
        nonlocal now
        now += 300.0
        if trial.number == 1:
            end(Ledger(directory, "other"), others_took_s)

    bench.isolation.on_start = time_passes
    return bench.run()


@pytest.mark.parametrize(("others_took_s", "trials", "is_out_of_time"), [(160.0, 3, False), (180.0, 2, True)])
def test_an_agent_heeds_how_long_others_trials_took_that_ended_after_its_own_first_one(
    others: Ledger, others_took_s: float, trials: int, is_out_of_time: bool
) -> None:
    summary = run_beside(others.directory, others_took_s)
    assert (summary.trials, summary.is_out_of_time) == (trials, is_out_of_time)
