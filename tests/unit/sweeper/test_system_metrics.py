"""The row of system metrics of a run that is recorded without W&B's SDK."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from hydra_plugins.hydra_wandb_sweeper._system_metrics import sample

MEMINFO = "MemTotal:       1000 kB\nMemFree:         100 kB\nMemAvailable:    250 kB\nHugePages_Total:       0\n"


def test_shares_are_percentages_and_sizes_are_mebibytes(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text(MEMINFO)
    (tmp_path / "self" / "task" / "1").mkdir(parents=True)
    (tmp_path / "self" / "task" / "2").mkdir()
    (tmp_path / "self" / "statm").write_text("90 10 3 0 0 0 0\n")
    metrics = sample(tmp_path)
    own_bytes = 10 * os.sysconf("SC_PAGE_SIZE")
    assert metrics["system.memory_percent"] == pytest.approx(75)
    assert metrics["system.proc.memory.availableMB"] == pytest.approx(250 / 1024)
    assert metrics["system.proc.memory.rssMB"] == pytest.approx(own_bytes / 2**20)
    assert metrics["system.proc.memory.percent"] == pytest.approx(100 * own_bytes / (1000 * 1024))
    assert metrics["system.proc.cpu.threads"] == 2
    assert 0 < metrics["system.disk./.usagePercent"] <= 100


@pytest.mark.parametrize("content", ["", "MemTotal: much\n", "MemTotal: 1000 kB\n"])
def test_a_system_that_does_not_tell_gives_no_metrics(tmp_path: Path, content: str) -> None:
    (tmp_path / "meminfo").write_text(content)
    assert sample(tmp_path) == {}
    assert sample(tmp_path / "nowhere") == {}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_this_process_is_measured() -> None:
    assert sample()["system.proc.memory.rssMB"] > 1
