"""Where the milliseconds between two trials go: what the agent and a trial's process do meanwhile.

Both are sampled from outside (apps/sampling.py) every two milliseconds, which makes them slower: what each part
takes is an upper bound, and what a trial really costs is in the table of the overhead. The agent runs in the
supervisor, and each trial has a process of its own. What the agent does while a trial's process runs is mostly to
wait for it, so the parts of the two don't add up. Functions of the plugin are named as `module.function`, after the
part of the agent's or the trial's life that called them; what took less than 0.1 ms is summed up. The first three
trials aren't counted: in them what all trials share is made ready.

    python benchmarks/profile_trial.py
    python benchmarks/profile_trial.py --quick
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import results
from cases import Case
from commands import APPS
from peers import one_agent
from results import Row, Table, spread
from scratch import scratch
from server import Server

AGENT, TRIAL = "agent", "trial's process"
LEAST_MS = 0.1
UNCOUNTED = 3
OF_TRIAL = re.compile(r"^Hydra|^_trial\.")


@dataclass(frozen=True)
class Sample:
    """So long, until end_s, a process was doing that."""

    pid: int
    seconds: float
    end_s: float
    what: str


Profile = Mapping[tuple[str, str], float]


def profile(samples: Iterable[Sample], agent: int, begins_s: Sequence[float]) -> Profile:
    """Milliseconds per trial by process and by what was done.

    begins_s: of the trials, in order. Of the agent counts the time between the last of those that aren't counted and
    the last of all; the process of each other trial counts wholly. Other children of the agent don't count.
    """
    taken = sorted(samples, key=lambda sample: sample.end_s)
    trials = list(dict.fromkeys(s.pid for s in taken if s.pid != agent and OF_TRIAL.search(s.what)))
    counted = len(begins_s) - UNCOUNTED
    found: dict[tuple[str, str], float] = defaultdict(float)
    for sample in taken:
        if sample.pid == agent and begins_s[UNCOUNTED - 1] < sample.end_s <= begins_s[-1]:
            found[AGENT, sample.what] += 1000 * sample.seconds / counted
        elif sample.pid in trials[UNCOUNTED:]:
            found[TRIAL, sample.what] += 1000 * sample.seconds / counted
    return found


def measure(task: str, trials: int, server: Path) -> tuple[Profile, float]:
    """The profile of one sweep, and the milliseconds from one trial's begin to the next.

    Raises:
        RuntimeError: It failed; with the end of its output.
    """
    with scratch() as folder, Server(server) as address:
        Path(folder, ".wandb_sweep_server").symlink_to(server)
        stamps, samples = Path(folder, "stamps"), Path(folder, "samples")
        case = Case(logs=task == "logs", heavy=False)
        env = {**os.environ, **case.environment(stamps), "SAMPLES": str(samples)}
        command = one_agent("fork")(address, trials)
        command[1] = str(APPS / "sampled_app.py")
        output = Path(folder, "output")
        with output.open("w") as file:
            process = subprocess.Popen(command, cwd=folder, env=env, stdout=file, stderr=file)
            status = process.wait()
        if status != 0:
            raise RuntimeError(f"{task}: status {status}\n{output.read_text()[-2000:]}")
        lines = [line.split() for line in stamps.read_text().splitlines()]
        taken = [line.split(" ", 3) for line in samples.read_text().splitlines()]
    begins_s = sorted(float(time_s) for event, time_s in lines if event == "begin")
    found = [Sample(int(pid), float(seconds), float(end_s), what) for pid, seconds, end_s, what in taken]
    cost_ms = 1000 * (begins_s[-1] - begins_s[UNCOUNTED - 1]) / (trials - UNCOUNTED)
    return profile(found, process.pid, begins_s), cost_ms


def rows(profiles: Sequence[Profile]) -> list[Row]:
    """A row for each thing that was done, in order of appearance, and one for what is too short."""
    keys = list(dict.fromkeys(key for found in profiles for key in found))
    rows: list[Row] = []
    for process in (AGENT, TRIAL):
        of_process = {key: spread([found.get(key, 0.0) for found in profiles]) for key in keys if key[0] == process}
        short = [cell for cell in of_process.values() if cell["median"] < LEAST_MS]
        rows += [
            {"process": process, "what": what, "ms": cell}
            for (_, what), cell in of_process.items()
            if cell["median"] >= LEAST_MS
        ]
        if short:
            ms = sum(cell["median"] for cell in short)
            rows.append({"process": process, "what": "all that is shorter", "ms": ms})
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    options = results.parse(results.parser(__doc__), arguments)
    trials = UNCOUNTED + (1 if options.quick else 20)
    tables = []
    with scratch() as server:
        for task in ("logs", "returns"):
            measured = []
            for number in range(options.repeat):
                measured.append(measure(task, trials, Path(server)))
                print(f"{task}: {number + 1} of {options.repeat}", file=sys.stderr)
            profiles = [found for found, _ in measured]
            cost = spread([cost_ms for _, cost_ms in measured])
            note = f"From one trial's begin to the next, while sampled: {results.shown(cost)} ms."
            tables.append(Table(f"A trial that {task}", rows(profiles), note))
    results.report(__file__, __doc__, options, tables)


if __name__ == "__main__":
    main()
