"""The script that simulates large sweeps: whether it runs, and what its tables hold."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parents[3]


def test_small_sweeps_are_simulated_in_seconds_and_compared(tmp_path: Path) -> None:
    output = tmp_path / "figures" / "simulate.json"
    command = [sys.executable, "benchmarks/simulate.py", "--quick", "--repeat", "2", "--output", str(output)]
    subprocess.run(command, cwd=REPO, check=True, capture_output=True, timeout=120)
    figures = json.loads(output.read_text(encoding="utf-8"))
    assert (figures["benchmark"], figures["quick"], figures["repeat"]) == ("simulate", True, 2)
    by_policy, by_expectation, by_queue, by_failures = (table["rows"] for table in figures["tables"])
    assert {row["agents"] for row in by_policy} == {8, 20}
    assert all(row["makespan (h)"]["n"] == 2 for row in [*by_policy, *by_expectation, *by_queue, *by_failures])
    for row in by_policy:
        # One trial in fifty crashes: who runs them again loses next to none.
        if row["policy"].startswith("this plugin"):
            assert row["trials that never finish"]["max"] <= 1
        assert row["makespan (h)"]["min"] > 0
        assert 0 < row["of the jobs' time useful (%)"] <= 100
