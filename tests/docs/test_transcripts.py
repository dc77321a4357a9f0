"""How what a page shows is compared with what a run printed."""

from __future__ import annotations

import pytest

from tests.docs.transcripts import as_shown, lines_missing


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("[02:09:06,889][HYDRA] [1/12] trial 1 finished", "[11:00:00,001][HYDRA] [9/12] trial 10 finished"),
        ("objective=0.02", "objective=1e-05"),
        ("Submitted 3 job(s): 104_[0-2]", "Submitted 12 job(s): 7_[0-11]"),
        ("Created sweep local/train/7ba0ikot (grid)", "Created sweep local/train/zzzzzzzz (grid)"),
        ("http://login:38095/local/train/sweeps/7ba0ikot, data", "http://login:1/local/train/sweeps/abcdefgh, data"),
        ("  agent-0    job 104_0 RUNNING on n1", "  agent-10 job 9 RUNNING on n2"),
        ("It took 48 s; 1 min 25 s", "It took 1 min; 0.5 s"),
        ("Job … begins …", "Job 5 begins when it likes"),
        ("…\n^ 1\n\n…", "^ 2"),
    ],
)
def test_times_ids_and_numbers_may_differ(shown: str, printed: str) -> None:
    assert lines_missing(shown, printed) == []


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("trial 1 finished", "trial 1 failed"),
        ("Submitted 3 job(s): 104_[0-2]", "Submitted 1 job(s): 104"),
        ("trial 1 finished", "and trial 1 finished"),
        ("Job … begins", "Job 5 begins when it likes"),
        ("[HYDRA] a", "[INFO] a"),
    ],
)
def test_words_may_not(shown: str, printed: str) -> None:
    assert lines_missing(f"{shown}\n", printed) == [shown]


def test_a_page_shows_neither_dates_nor_this_machine_s_names() -> None:
    printed = "[2026-11-27 18:00:00,001][HYDRA] root said http://vm:1 of /tmp/x/project/a, not of chroot"
    places = {"/tmp/x": "~", "vm": "login", "root": "user"}
    assert as_shown(printed, places) == "[18:00:00,001][HYDRA] user said http://login:1 of ~/project/a, not of chroot"
