"""What a trial costs beyond the user's own code, with this plugin and with what else there is.

All run the same trial (apps/task.py), one at a time, against the same embedded server. A trial notes when it begins
and ends, by the clock that all processes share. The cost of a trial is the time from one beginning to the next: what
lies before the first ("first trial after") and after the last ("prompt after") is listed beside it. "logs" opens a
W&B run, logs a value and finishes; its floor is a loop that does so in one process. "returns" only returns a number.
"+ 3 s import" is a script that imports something heavy.

Repetitions go round all peers, so that a busy moment of the machine hits them alike.

    python benchmarks/overhead.py                          # about 30 minutes
    python benchmarks/overhead.py --trials 3 --repeat 1    # a few minutes
    python benchmarks/overhead.py --only 'this plugin' --only loop
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server import Server, table
from server_load import ENTITY, PROJECT, Connection, create_sweep

from wandb_sweep_server.launch import ServerAddress

APPS = Path(__file__).resolve().parent / "apps"
PLUGIN = [
    "-m",
    "hydra/sweeper=wandb",
    "hydra.sweeper.agents=1",
    "hydra.sweeper.metric.name=loss",
    f"hydra.sweeper.project={PROJECT}",
]


@dataclass(frozen=True)
class Case:
    """A trial's kind. logs: to W&B. heavy: its script takes three seconds to import."""

    logs: bool
    heavy: bool

    @property
    def name(self) -> str:
        """As in the table."""
        return ("logs" if self.logs else "returns") + (" + 3 s import" if self.heavy else "")


@dataclass(frozen=True)
class Place:
    """Where a measurement runs."""

    address: ServerAddress
    directory: Path


Command = Callable[[Place, int], list[str]]


@dataclass(frozen=True)
class Peer:
    """Something that runs trials. command: for a number of them. needs_wandb: it can't run trials without W&B.
    missing: why it can't be measured here, None if it can."""

    name: str
    command: Command
    needs_wandb: bool = False
    missing: str | None = None


def _loop(_: Place, trials: int) -> list[str]:
    return [sys.executable, str(APPS / "loop.py"), str(trials)]


def _values(trials: int) -> str:
    return "x=" + ",".join(f"{number}.0" for number in range(trials))


def _plugin(isolation: str) -> Command:
    def command(place: Place, trials: int) -> list[str]:
        own = [f"hydra.sweeper.server={place.address.url}", f"hydra.sweeper.isolation={isolation}"]
        return [sys.executable, str(APPS / "app.py"), *PLUGIN, *own, _values(trials)]

    return command


def _hydra(*more: str) -> Command:
    def command(_: Place, trials: int) -> list[str]:
        return [sys.executable, str(APPS / "app.py"), "-m", *more, _values(trials)]

    return command


def _sweep(place: Place, trials: int) -> str:
    config = {
        "method": "grid",
        "program": str(APPS / "app.py"),
        "metric": {"name": "loss", "goal": "minimize"},
        "parameters": {"x": {"values": [float(number) for number in range(trials)]}},
        "command": ["${env}", sys.executable, "${program}", "${args_no_hyphens}"],
    }

    async def create() -> str:
        connection = Connection(place.address)
        try:
            return await create_sweep(connection, config)
        finally:
            connection.close()

    return asyncio.run(create())


def _cli_agent(place: Place, trials: int) -> list[str]:
    wandb = str(Path(sys.executable).with_name("wandb"))
    return [wandb, "agent", f"{ENTITY}/{PROJECT}/{_sweep(place, trials)}"]


def _function_agent(place: Place, trials: int) -> list[str]:
    return [sys.executable, str(APPS / "function_agent.py"), _sweep(place, trials)]


def peers() -> list[Peer]:
    """All that are compared, the floor first."""
    no_slurm = None if shutil.which("sbatch") and os.environ.get("SLURM_CONF") else "no SLURM cluster"
    submitit = ["hydra/launcher=submitit_slurm", "hydra.launcher.array_parallelism=1", "hydra.launcher.timeout_min=5"]
    return [
        Peer("loop in one process", _loop),
        Peer("this plugin, fork", _plugin("fork")),
        Peer("this plugin, spawn", _plugin("spawn")),
        Peer("this plugin, none", _plugin("none")),
        Peer("Hydra's BasicSweeper", _hydra()),
        Peer("wandb agent (CLI)", _cli_agent, needs_wandb=True),
        Peer("wandb.agent(function)", _function_agent, needs_wandb=True),
        Peer("a SLURM job per trial", _hydra(*submitit), missing=no_slurm),
    ]


@dataclass(frozen=True)
class Measurement:
    """Seconds."""

    trial_s: float
    first_s: float
    prompt_s: float


def measure(peer: Peer, case: Case, address: ServerAddress, trials: int) -> Measurement:
    """One run of a peer.

    Raises:
        RuntimeError: It failed, or didn't run all trials; with the end of its output.
    """
    with tempfile.TemporaryDirectory() as folder:
        place = Place(address, Path(folder))
        stamps = place.directory / "stamps"
        env = {
            **os.environ,
            "STAMPS": str(stamps),
            "TASK": "logs" if case.logs else "returns",
            "HEAVY": str(int(case.heavy)),
            "WANDB_BASE_URL": address.url,
            "WANDB_API_KEY": address.api_key,
            "WANDB_PROJECT": PROJECT,
        }
        command = peer.command(place, trials)
        started_s = time.monotonic()
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
        ended_s = time.monotonic()
        lines = [line.split() for line in stamps.read_text().splitlines()] if stamps.exists() else []
    begins = sorted(float(time_s) for event, time_s in lines if event == "begin")
    ends = [float(time_s) for event, time_s in lines if event == "end"]
    if done.returncode != 0 or len(begins) != trials:
        output = (done.stdout + done.stderr)[-2000:]
        raise RuntimeError(f"{peer.name}, {case.name}: {len(begins)} trials, status {done.returncode}\n{output}")
    return Measurement((begins[-1] - begins[0]) / (trials - 1), begins[0] - started_s, ended_s - max(ends))


def measure_all(names: Sequence[str], trials: int, repeat: int) -> list[dict[str, Any]]:
    """A row for each case and peer: medians, and how many times the floor of its case a trial costs."""
    chosen = [peer for peer in peers() if not names or any(name in peer.name for name in names)]
    for peer in chosen:
        if peer.missing:
            print(f"{peer.name}: left out, {peer.missing}", file=sys.stderr)
    chosen = [peer for peer in chosen if not peer.missing]
    rows = []
    with tempfile.TemporaryDirectory() as folder, Server(Path(folder) / "server") as address:
        for case in (Case(logs, heavy) for heavy in (False, True) for logs in (True, False)):
            able = [peer for peer in chosen if case.logs or not peer.needs_wandb]
            found: dict[str, list[Measurement]] = {peer.name: [] for peer in able}
            for _ in range(repeat):
                for peer in able:
                    found[peer.name].append(measure(peer, case, address, trials))
            rows += [row(case, name, measurements) for name, measurements in found.items()]
            print(table(rows[-len(found) :]), end="\n\n", flush=True)
    return rows


def row(case: Case, name: str, measurements: Sequence[Measurement]) -> dict[str, Any]:
    """Medians, in seconds."""
    return {
        "trial": case.name,
        "with": name,
        "s per trial": statistics.median(m.trial_s for m in measurements),
        "fastest": min(m.trial_s for m in measurements),
        "slowest": max(m.trial_s for m in measurements),
        "first trial after (s)": statistics.median(m.first_s for m in measurements),
        "prompt after (s)": statistics.median(m.prompt_s for m in measurements),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=12, help="of each run (default: %(default)s)")
    parser.add_argument("--repeat", type=int, default=5, help="runs of each peer (default: %(default)s)")
    parser.add_argument("--only", action="append", default=[], help="peers whose name has this in it")
    parser.add_argument("--output", type=Path, help="a file for the figures as JSON")
    options = parser.parse_args(arguments)
    rows = measure_all(options.only, options.trials, options.repeat)
    if options.output:
        machine = {"python": platform.python_version(), "cores": os.cpu_count(), "system": platform.platform()}
        options.output.write_text(json.dumps({"machine": machine, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
