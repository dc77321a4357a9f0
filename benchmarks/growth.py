"""Whether a trial of a large sweep costs more than one of a small sweep: after 10^2, 10^4 and 10^5 finished trials.

For each size, this plugin begins a sweep of so many trials and some more, and is interrupted. All but the last are
then finished in its directory and at its server by what agents and server do of each, without processes, so that it
takes minutes. `hydra-sweep attach` goes on with the sweep: one agent runs the trials that are left, which only return
a number. It does so in stints of twenty trials, those of the three sweeps in turn. A trial's cost is the time from
one begin to the next, as the mean of a stint. If it is the same in all rows, nothing that an agent does for a trial
depends on how many there were or will be.

"first trial after" and "prompt after" are the supervisor's part: from the command to the first trial of a stint, and
from the sweep's last trial to the prompt. They read and write what all trials have left, and are to grow with them.

    python benchmarks/growth.py            # about 8 minutes
    python benchmarks/growth.py --quick    # a few seconds
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import results
from cases import Case
from commands import APPS
from peers import one_agent
from results import Row, Table, spread
from scratch import scratch
from server import Server, finish_trials, in_own_process

SIZES = (100, 10_000, 100_000)
PART = 20
BEGIN_WITHIN_S = 300


@dataclass(frozen=True)
class Sweep:
    """One that is measured. project: the directory that it runs in. stamps: see apps/stamps.py."""

    project: Path

    @property
    def directory(self) -> Path:
        """Of the sweep."""
        return self.project / "sweep"

    @property
    def server(self) -> Path:
        """The server's directory."""
        return self.project / ".wandb_sweep_server"

    @property
    def stamps(self) -> Path:
        """Where trials note when they begin and end."""
        return self.project / "stamps"

    def env(self) -> Mapping[str, str]:
        """For its processes."""
        return {**os.environ, **Case(logs=False, heavy=False).environment(self.stamps), "PYTHONPATH": str(APPS)}

    def times_s(self, event: str) -> list[float]:
        """When trials began, or ended."""
        lines = self.stamps.read_text().splitlines() if self.stamps.exists() else []
        return sorted(float(line.split()[1]) for line in lines if line.split()[0] == event)


def begin(sweep: Sweep, trials: int) -> int:
    """Begin a sweep of so many trials and interrupt it as soon as one has begun; returns how many have run.

    Raises:
        RuntimeError: No trial began; with the end of the command's output.
    """
    with Server(sweep.server) as address:
        command = one_agent("fork", f"hydra.sweep.dir={sweep.directory}")(address, 1)
        command[-1] = f"x=range({trials})"
        output = sweep.project / "output"
        with output.open("w") as file:
            process = subprocess.Popen(command, cwd=sweep.project, env=sweep.env(), stdout=file, stderr=file)
            deadline_s = time.monotonic() + BEGIN_WITHIN_S
            while not sweep.times_s("begin") and process.poll() is None and time.monotonic() < deadline_s:
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            process.wait()
    ran = len(sweep.times_s("end"))
    if not ran:
        raise RuntimeError(f"no trial of {trials} ran\n{output.read_text()[-2000:]}")
    return ran


def finish(server: Path, directory: Path, trials: int) -> None:
    """Finish so many trials of a sweep, at its server and in its directory.

    To be run in a process of its own, while neither is in use.
    """
    from hydra_plugins.hydra_wandb_sweeper._files import write_whole
    from hydra_plugins.hydra_wandb_sweeper._ledger import Ledger
    from wandb_sweep_server.store import Limits, Store

    os.fsync = lambda _: None  # a power failure may cost the benchmark its sweep
    ledger = Ledger.open(directory, "finisher")
    store = Store(server, Limits())
    result = {"state": "finished", "metrics": {"loss": 0.5}, "error": None, "error_line": None, "output_dir": None}
    for command in finish_trials(store, ledger.sweep().sweep.sweep_id, trials):
        args = {name: item["value"] for name, item in command["args"].items()}
        trial = ledger.number_trial(command["run_id"], args)
        ledger.begin(trial)
        write_whole(ledger.result_path(trial), result)
        ledger.record("ended", trial, **result, duration_s=0.01, final=True)
    store.close()


def prepare(folder: Path, finished: int, trials: int) -> Sweep:
    """Return a sweep of which so many trials have finished, and so many are left."""
    folder.mkdir()
    sweep = Sweep(folder)
    ran = begin(sweep, finished + trials)
    in_own_process(finish, sweep.server, sweep.directory, finished - ran)
    sweep.stamps.unlink()
    return sweep


@dataclass(frozen=True)
class Stint:
    """A stretch of trials, as measured. trial_s: from one's begin to the next. prompt_s: after the last one's end."""

    trial_s: float
    first_s: float
    prompt_s: float


def go_on(sweep: Sweep, *, is_last: bool) -> Stint:
    """Go on with a sweep for PART trials and one more, or to its end; its server runs.

    Raises:
        RuntimeError: Fewer trials ran, or it failed; with the end of the command's output.
    """
    before = len(sweep.times_s("begin"))
    output = sweep.project / "output"
    command = [str(Path(sys.executable).with_name("hydra-sweep")), "attach", str(sweep.directory)]
    started_s = time.monotonic()
    with output.open("w") as file:
        process = subprocess.Popen(command, cwd=sweep.project, env=sweep.env(), stdout=file, stderr=file)
        while not is_last and len(sweep.times_s("begin")) < before + PART + 1 and process.poll() is None:
            time.sleep(0.1)
        if not is_last:
            process.send_signal(signal.SIGINT)
        status = process.wait()
    ended_s = time.monotonic()
    begins = sweep.times_s("begin")[before:]
    if len(begins) <= PART or (is_last and status != 0):
        raise RuntimeError(f"{len(begins)} trials, status {status}\n{output.read_text()[-2000:]}")
    return Stint((begins[PART] - begins[0]) / PART, begins[0] - started_s, ended_s - max(sweep.times_s("end")))


def measure(sizes: Sequence[int], repeat: int) -> list[Row]:
    """A row for each size. Their stints alternate: what else the machine does then slows down all of them."""
    stints: dict[int, list[Stint]] = {size: [] for size in sizes}
    with scratch() as folder, contextlib.ExitStack() as servers:
        sweeps = {}
        for size in sizes:
            # An interruption comes a few trials late.
            sweeps[size] = prepare(Path(folder) / str(size), size, repeat * 2 * PART)
            print(f"{size} trials have finished", file=sys.stderr)
        for sweep in sweeps.values():
            servers.enter_context(Server(sweep.server))
        for number in range(1, repeat + 1):
            for size, sweep in sweeps.items():
                stints[size].append(go_on(sweep, is_last=number == repeat))
            print(f"stint {number} of {repeat}: measured", file=sys.stderr)
    return [
        {
            "finished before": size,
            "s per trial": spread([stint.trial_s for stint in taken]),
            "first trial after (s)": spread([stint.first_s for stint in taken]),
            "prompt after (s)": taken[-1].prompt_s,
        }
        for size, taken in stints.items()
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    options = results.parse(results.parser(__doc__), arguments)
    rows = measure((20, 50) if options.quick else SIZES, options.repeat)
    note = f"{options.repeat} stints of {PART} trials, one after another."
    results.report(__file__, __doc__, options, [Table("Trials after so many", rows, note)])


if __name__ == "__main__":
    main()
