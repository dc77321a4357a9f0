"""Benchmarks don't pay for what others have deleted."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from scratch import ROOT_VARIABLE, new_file_us, scratch, wait_until_settled

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"


class Time:
    def __init__(self, taken_us: Iterable[float]) -> None:
        self.now_s = 0.0
        self.taken_us = iter(taken_us)

    def sleep(self, delay_s: float) -> None:
        self.now_s += delay_s

    def wait(self) -> float:
        return wait_until_settled(lambda: next(self.taken_us), self.sleep, lambda: self.now_s)


@pytest.mark.parametrize(
    ("taken_us", "result_us", "waited_s"),
    [([8], 8, 0), ([950, 900, 20], 20, 20), ([700] * 1000, 700, 400)],
    ids=["at once", "after a while", "slow by itself"],
)
def test_it_is_waited_until_new_files_are_made_quickly(
    taken_us: list[float], result_us: float, waited_s: float
) -> None:
    time = Time(taken_us)
    assert time.wait() == result_us
    assert time.now_s == waited_s


def test_a_new_file_takes_some_time_and_none_is_deleted(tmp_path: Path) -> None:
    assert new_file_us(tmp_path, number=5) > 0
    assert sum(path.is_file() for path in tmp_path.rglob("*")) == 15


def test_directories_are_different_and_stay_while_something_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = (
        "from scratch import scratch\nfor _ in range(2):\n    with scratch() as folder: print(folder, flush=True)"
    )
    command = [sys.executable, "-c", f"{script}\nimport os\nprint(os.path.isdir(folder))"]
    own = subprocess.run(command, cwd=BENCHMARKS, capture_output=True, text=True, check=True).stdout.split()
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path))
    given = subprocess.run(command, cwd=BENCHMARKS, capture_output=True, text=True, check=True).stdout.split()
    assert own[0] != own[1]
    assert own[2] == given[2] == "True"
    assert [Path(path).exists() for path in own[:2]] == [False, False]
    assert [Path(path).parent for path in given[:2]] == [tmp_path, tmp_path]
    assert [Path(path).exists() for path in given[:2]] == [True, True]


def test_a_directory_is_used_like_a_temporary_one(tmp_path: Path) -> None:
    with scratch() as folder:
        assert Path(folder).is_dir()
