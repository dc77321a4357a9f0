"""What a trial costs beyond the user's own code, with this plugin and with what else there is.

All run the same trial (apps/task.py), one at a time, against the same embedded server. A trial notes when it begins
and ends, by the clock that all processes share.

- s per trial: the time from the first trial's begin to the last one's, divided by the trials between. What lies
  before the first ("first trial after", from pressing return) and after the last ("prompt after") stands beside it.
- later trials: the median time from one begin to the next without the first one, in which W&B's service may start.
- times the loop: "s per trial" by that of the floor, a plain loop in one process. Only where trials log: a bare loop
  without W&B takes no time worth dividing by.
- times less than wandb agent: how many such trials fit into one of the W&B command line's agent.

"logs" opens a W&B run, logs a value and finishes; "returns" only returns a number. "+ 3 s import" is a script that
imports something as heavy as torch. Repetitions go round all peers, so that a busy moment of the machine hits them
alike. Peers that let seconds pass between trials run two or four of them each time, the others twelve.

    python benchmarks/overhead.py                                                    # on this machine
    python -m tests.slurm.cluster run -- python benchmarks/overhead.py               # on SLURM too
    python benchmarks/overhead.py --only 'this plugin' --only loop --case returns    # a part
"""

from __future__ import annotations

import itertools
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import results
from cases import CASES, Case
from commands import environment, has_cluster
from peers import LOOP, WANDB_AGENT, Peer, peers
from results import Row, Table, median_of, spread
from scratch import scratch
from server import Server

from wandb_sweep_server.launch import ServerAddress


def is_of(case: Case, peer: Peer) -> bool:
    """True if a peer is measured with it."""
    return (peer.logs if case.logs else peer.returns) and (peer.heavy or not case.heavy)


@dataclass(frozen=True)
class Measurement:
    """Seconds; see above."""

    trial_s: float
    later_s: float
    first_s: float
    prompt_s: float


def measure(peer: Peer, case: Case, address: ServerAddress, server: Path, trials: int) -> Measurement:
    """One run of a peer. server: the directory of the server at that address.

    Raises:
        RuntimeError: It failed, or didn't run all trials; with the end of its output.
    """
    with scratch() as folder:
        # Where the plugin looks for its project's server.
        Path(folder, ".wandb_sweep_server").symlink_to(server)
        stamps = Path(folder, "stamps")
        env = {**environment("task", address), **case.environment(stamps)}
        command = peer.command(address, trials)
        started_s = time.monotonic()
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
        ended_s = time.monotonic()
        lines = [line.split() for line in stamps.read_text().splitlines()] if stamps.exists() else []
    begins = sorted(float(time_s) for event, time_s in lines if event == "begin")
    ends = [float(time_s) for event, time_s in lines if event == "end"]
    if done.returncode != 0 or len(begins) != trials:
        output = (done.stdout + done.stderr)[-2000:]
        raise RuntimeError(f"{peer.name}, {case.name}: {len(begins)} trials, status {done.returncode}\n{output}")
    gaps = [later - earlier for earlier, later in itertools.pairwise(begins)]
    return Measurement(
        statistics.mean(gaps), statistics.median(gaps[1:] or gaps), begins[0] - started_s, ended_s - max(ends)
    )


def measure_case(
    case: Case, chosen: Sequence[Peer], address: ServerAddress, server: Path, trials: int, repeat: int
) -> list[Row]:
    """A row for each peer."""
    able = [peer for peer in chosen if is_of(case, peer)]
    found: dict[str, list[Measurement]] = {peer.name: [] for peer in able}
    for number in range(repeat):
        for peer in able:
            if peer.missing is None:
                count = min(trials, peer.most_trials or trials)
                found[peer.name].append(measure(peer, case, address, server, count))
        print(f"{case.name}: {number + 1} of {repeat}", file=sys.stderr)
    rows = [row(case, peer, found[peer.name]) for peer in able]
    return with_ratios(rows) if case.logs else rows


def row(case: Case, peer: Peer, measurements: Sequence[Measurement]) -> dict[str, Any]:
    """One peer's figures in seconds, or why there are none."""
    if peer.missing is not None:
        return {"trial": case.name, "with": peer.name, "left out": peer.missing}
    return {
        "trial": case.name,
        "with": peer.name,
        "s per trial": spread([m.trial_s for m in measurements]),
        "later trials (s)": spread([m.later_s for m in measurements]),
        "first trial after (s)": spread([m.first_s for m in measurements]),
        "prompt after (s)": spread([m.prompt_s for m in measurements]),
    }


def with_ratios(rows: Sequence[Row]) -> list[Row]:
    """The rows of one case with the ratios to two of them, as far as these were measured."""
    costs = {row["with"]: median_of(row["s per trial"]) for row in rows if "s per trial" in row}

    def ratios(row: Row) -> Mapping[str, float]:
        cost_s = costs.get(row["with"])
        if cost_s is None:
            return {}
        to_loop = {"times the loop": cost_s / costs[LOOP]} if LOOP in costs else {}
        to_agent = {"times less than wandb agent": costs[WANDB_AGENT] / cost_s} if WANDB_AGENT in costs else {}
        return {**to_loop, **to_agent}

    return [{**row, **ratios(row)} for row in rows]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = results.parser(__doc__)
    parser.add_argument("--trials", type=int, help="of each run, 2 at least (default: 12; with --quick 2)")
    parser.add_argument("--only", action="append", default=[], help="peers whose name has this in it")
    parser.add_argument("--case", action="append", default=[], help="trials of exactly this name")
    options = results.parse(parser, arguments)
    trials = max(2, options.trials or (2 if options.quick else 12))
    chosen = [peer for peer in peers() if not options.only or any(name in peer.name for name in options.only)]
    cases = [case for case in CASES if case.name in (options.case or [each.name for each in CASES])]
    if options.quick:
        cases = [case for case in cases if not case.heavy]
    tables = []
    with scratch() as folder:
        directory = Path(folder) / "server"
        # Jobs reach it by the machine's name: a server on loopback would be replaced by the first of them.
        with Server(directory, "0.0.0.0" if has_cluster() else "127.0.0.1") as address:
            for case in cases:
                rows = measure_case(case, chosen, address, directory, trials, options.repeat)
                tables.append(Table(f"A trial that {case.name}", rows))
    results.report(__file__, __doc__, options, tables)


if __name__ == "__main__":
    main()
