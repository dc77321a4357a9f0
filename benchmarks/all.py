"""Runs the benchmarks one after another and writes the page of their figures, docs/benchmarks.md.

Each leaves its figures in benchmarks/results/, so that a run that was interrupted goes on with those that are left:

    python benchmarks/all.py                  # everything
    python benchmarks/all.py overhead fleet   # these, and the page of all figures that are there
    python benchmarks/all.py --quick          # for whether they run: side by side, and the page goes nowhere

A benchmark is a script in this directory that ends with `results.report(__file__, …)`. Those that have something to
measure on a SLURM cluster get the tests' own, where that can be had.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from page import DOCS, RESULTS, write_page
from scratch import ROOT_VARIABLE, new_file_us, wait_until_settled

HERE = Path(__file__).resolve().parent
ON_CLUSTER = ("overhead", "utilisation")
# Beside those that `make test` and people use, if they do.
CLUSTER_NUMBER = 7
QUICK_TIMEOUT_S = 600
# They mostly wait for one another.
QUICK_AT_A_TIME = 4
_IS_BENCHMARK = re.compile(
    r'^ +(results\.)?report\(__file__, .*^if __name__ == "__main__":', re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Ended:
    """A benchmark that has run. output: of one that was to be quiet, else empty."""

    name: str
    status: int
    seconds: float
    output: str = ""


def benchmarks() -> list[str]:
    """The names of all benchmarks, in order of the alphabet."""
    return sorted(path.stem for path in HERE.glob("*.py") if _IS_BENCHMARK.search(path.read_text(encoding="utf-8")))


def run(name: str, output: Path, scratch: Path) -> Ended:
    """Run a benchmark in full; it writes to this process's output. scratch: see scratch.py."""
    command = [sys.executable, str(HERE / f"{name}.py"), "--output", str(output / f"{name}.json")]
    if name in ON_CLUSTER:
        cluster = [sys.executable, "-m", "tests.slurm.cluster", "--number", str(CLUSTER_NUMBER), "run", "--"]
        command = [*cluster, *command]
    print(f"\n=== {name} ===\n", flush=True)
    print(f"A new file takes {wait_until_settled(lambda: new_file_us(scratch)):.0f} us.", flush=True)
    started_s = time.monotonic()
    env = {**os.environ, ROOT_VARIABLE: str(scratch)}
    status = subprocess.run(command, cwd=HERE.parent, env=env, stdin=subprocess.DEVNULL).returncode
    return Ended(name, status, time.monotonic() - started_s)


def run_quick(name: str, output: Path) -> Ended:
    """See whether a benchmark runs."""
    command = [sys.executable, str(HERE / f"{name}.py"), "--quick", "--output", str(output / f"{name}.json")]
    started_s = time.monotonic()
    try:
        done = subprocess.run(
            command,
            cwd=HERE.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=QUICK_TIMEOUT_S,
        )
        status, text = done.returncode, done.stdout
    except subprocess.TimeoutExpired as late:
        status, text = 1, f"{late.output or ''}\nnot done after {QUICK_TIMEOUT_S} s"
    return Ended(name, status, time.monotonic() - started_s, text)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="for whether they run; their figures mean little")
    parser.add_argument("names", nargs="*", help=f"which: {', '.join(benchmarks())} (default: all)")
    options = parser.parse_args(arguments)
    if unknown := set(options.names) - set(benchmarks()):
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}; there are {', '.join(benchmarks())}")
    names = options.names or benchmarks()
    if options.quick:
        ended = _all_quick(names)
    else:
        RESULTS.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="benchmarks-", ignore_cleanup_errors=True) as folder:
            ended = [run(name, RESULTS, Path(folder)) for name in names]
        write_page(RESULTS, DOCS)
    print(*(f"{e.name}: {'ran' if e.status == 0 else 'FAILED'}, {e.seconds:.0f} s" for e in ended), sep="\n")
    return int(any(e.status for e in ended))


def _all_quick(names: Sequence[str]) -> list[Ended]:
    ended = []
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(QUICK_AT_A_TIME) as pool:
        for each in pool.map(lambda name: run_quick(name, Path(folder)), names):
            print(f"\n=== {each.name} ===\n\n{each.output}", flush=True)
            ended.append(each)
        write_page(Path(folder), Path(folder) / "docs")
    return ended


if __name__ == "__main__":
    sys.exit(main())
