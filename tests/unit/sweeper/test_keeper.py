"""When a keeper begins, in SLURM's words."""

from __future__ import annotations

import pytest

from hydra_plugins.hydra_wandb_sweeper._keeper import dependency

TABLE = [
    (["7"], True, "afterany:7"),
    (["7_0", "7_1", "9"], True, "afterany:7_0?afterany:7_1?afterany:9"),
    (["7_0", "7_1", "10_0", "9"], False, "afterany:7:9:10"),
]


@pytest.mark.parametrize(("job_ids", "at_first", "words"), TABLE)
def test_a_keeper_begins_after_the_first_job_or_after_all(job_ids: list[str], at_first: bool, words: str) -> None:
    assert dependency(job_ids, at_first=at_first) == words


def test_slurm_is_not_given_more_conditions_than_it_can_check() -> None:
    words = dependency([f"7_{task}" for task in range(5000)], at_first=True)
    assert words.count("?") == 999
