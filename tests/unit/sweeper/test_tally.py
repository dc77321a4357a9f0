"""Counting up together, and the failures that are counted so."""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from hydra_plugins.hydra_wandb_sweeper._ledger import Ledger
from hydra_plugins.hydra_wandb_sweeper._tally import Tally, first_free
from tests.unit.sweeper.test_ledger import RECORD


@given(st.integers(0, 5000), st.data())
def test_the_lowest_free_number_is_found_from_wherever_one_begins(taken: int, data: st.DataObject) -> None:
    looks: list[int] = []

    def is_taken(number: int) -> bool:
        looks.append(number)
        return number < taken

    assert first_free(is_taken, data.draw(st.integers(0, taken))) == taken
    assert len(looks) <= 2 * max(taken, 1).bit_length() + 2


def test_those_who_count_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        for tally in [Tally(tmp_path) for _ in range(8)]:
            pool.submit(lambda mine=tally: [mine.add() for _ in range(20)])
    assert Tally(tmp_path).value() == 160


@given(st.lists(st.tuples(st.sampled_from(["mark", "unmark"]), st.integers(0, 1), st.integers(0, 4)), max_size=30))
def test_agents_that_mark_and_unmark_agree_on_how_many_trials_have_failed(calls: list[tuple[str, int, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Ledger.create(Path(folder), RECORD, "supervisor")
        agents = [Ledger(Path(folder), f"agent-{number}").failures for number in range(2)]
        marked: set[int] = set()
        for call, agent, trial in calls:
            if call == "mark":
                marked.add(trial)
                assert agents[agent].mark(trial) == len(marked)
            else:
                marked.discard(trial)
                agents[agent].unmark(trial)
            assert [number for number in range(5) if agents[1 - agent].has(number)] == sorted(marked)
