"""How much of their time agents spend in trials, with this plugin and with what else can run several at a time.

An agent holds a GPU while it runs, so what lies between two of its trials is paid for and of no use. Four agents run
trials that sleep, on this machine and on a SLURM cluster, all against one embedded server.

- in trials: the seconds inside the task function, summed over all trials, divided by what the agents had: their
  number times the time from the first trial's begin to the last one's end.
- without the ends: the same from the moment at which as many trials have begun as there are agents to the moment at
  which the last one begins. Before, agents start ("ramp-up"); after, those that find nothing left wait for the last
  ("tail", at most a trial's length). Neither grows with the number of trials. It is given as the median, the least
  and the largest of five parts of that time.
- asleep: of the agents' time between the same two moments, what the trials slept: opening and finishing a W&B run
  inside the task function doesn't count as use here.
- between trials: agents' seconds that weren't slept, by the number of trials.

"logs" opens a W&B run, sleeps, logs a value and finishes; "returns" sleeps and returns a number. Slow peers run fewer
trials; the table says how many.

    python benchmarks/utilisation.py                             # on this machine, about 13 minutes
    python -m tests.slurm.cluster run -- python benchmarks/utilisation.py    # there as well, about 20 minutes
    python benchmarks/utilisation.py --quick                     # a minute or two
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import results
from commands import SLURM, Command, cli_agent, environment, function_agent, has_cluster, hydra, plugin
from results import Table
from scratch import scratch
from server import Server

from hydra_plugins.hydra_wandb_sweeper._server import LOCAL_DIRECTORY
from wandb_sweep_server.launch import ServerAddress

AGENTS = 4
PARTS = 5
# Of the project's test cluster (tests/slurm/cluster.py).
MAX_ARRAY_SIZE = 16


@dataclass(frozen=True)
class Case:
    """A kind of trial. trials: how many; slow_trials: of peers that take seconds from one to the next."""

    task: str
    seconds: float
    trials: int
    slow_trials: int


FULL = (Case("logs", 2.0, 400, 40), Case("returns", 2.0, 100, 40))
LONG = Case("logs", 30.0, 4 * AGENTS, 4 * AGENTS)
QUICK = (Case("logs", 0.2, 12, 8), Case("returns", 0.2, 12, 8))
QUICK_LONG = Case("logs", 1.0, 2 * AGENTS, 2 * AGENTS)


@dataclass(frozen=True)
class Peer:
    """Something that runs trials side by side. times: how often its command is started for one sweep. needs_wandb:
    none without W&B code. needs_cluster: only on SLURM. is_ours: it runs the long trials too. most_trials: of one
    launch, by the cluster's MaxArraySize."""

    name: str
    command: Command
    times: int = 1
    needs_wandb: bool = False
    needs_cluster: bool = False
    is_slow: bool = False
    is_ours: bool = False
    most_trials: int | None = None

    def trials_of(self, case: Case) -> int:
        """How many it runs."""
        trials = case.slow_trials if self.is_slow else case.trials
        return min(trials, self.most_trials or trials)


_SLURM = (SLURM, "hydra.launcher.timeout_min=60")
_AGENTS = f"hydra.sweeper.agents={AGENTS}"
PEERS = (
    Peer("this plugin", plugin(_AGENTS, f"hydra.sweeper.agents_per_job={AGENTS}"), is_ours=True),
    Peer("Hydra's joblib launcher", hydra("hydra/launcher=joblib", f"hydra.launcher.n_jobs={AGENTS}")),
    Peer(f"{AGENTS} times wandb agent (CLI)", cli_agent, times=AGENTS, needs_wandb=True, is_slow=True),
    Peer(f"{AGENTS} times wandb.agent(function)", function_agent, times=AGENTS, needs_wandb=True, is_slow=True),
    Peer("this plugin on SLURM", plugin(_AGENTS, *_SLURM), needs_cluster=True, is_ours=True),
    Peer(
        "a SLURM job per trial",
        hydra(*_SLURM, f"hydra.launcher.array_parallelism={AGENTS}"),
        needs_cluster=True,
        is_slow=True,
        most_trials=MAX_ARRAY_SIZE,
    ),
)


@dataclass(frozen=True)
class Mark:
    """A trial's times, in seconds of the clock that all processes share."""

    begin_s: float
    end_s: float
    sleep_s: float


def run(peer: Peer, case: Case, address: ServerAddress, trials: int) -> list[Mark]:
    """Run a number of trials and return when each was.

    Raises:
        RuntimeError: It failed, or didn't run all trials; with the end of its output.
    """
    with scratch() as folder:
        marks = Path(folder) / "marks"
        marks.touch()
        (Path(folder) / LOCAL_DIRECTORY).symlink_to(address.directory)
        own = {"MARKS": str(marks), "TASK": case.task, "SECONDS": str(case.seconds)}
        env = {**environment("sleeping", address), **own}
        output = Path(folder) / "output"
        with output.open("w") as file:
            running = [
                subprocess.Popen(command, cwd=folder, env=env, stdout=file, stderr=file, stdin=subprocess.DEVNULL)
                for command in [peer.command(address, trials)] * peer.times
            ]
            statuses = [process.wait() for process in running]
        found = [Mark(**json.loads(line)) for line in marks.read_text().splitlines()]
        if any(statuses) or len(found) != trials:
            end = output.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{peer.name}, {case.task}: {len(found)} trials, statuses {statuses}\n{end}")
    return found


def share_in_trials(marks: Sequence[Mark], since_s: float, until_s: float) -> float:
    """The part of the agents' time between two moments that was inside task functions, in per cent."""
    inside_s = sum(max(0.0, min(m.end_s, until_s) - max(m.begin_s, since_s)) for m in marks)
    return 100 * inside_s / (AGENTS * (until_s - since_s))


def row(peer: Peer, case: Case, marks: Sequence[Mark]) -> dict[str, Any]:
    """One peer's figures; the columns are explained above."""
    begins, ends = sorted(m.begin_s for m in marks), sorted(m.end_s for m in marks)
    since_s, until_s = begins[AGENTS - 1], begins[-1]
    edges = [since_s + (until_s - since_s) * part / PARTS for part in range(PARTS + 1)]
    parts = [share_in_trials(marks, since_s, until_s) for since_s, until_s in itertools.pairwise(edges)]
    whole = share_in_trials(marks, since_s, until_s)
    # A trial's sleep takes the same part of each of its seconds in the task function.
    asleep = whole * sum(m.sleep_s for m in marks) / sum(m.end_s - m.begin_s for m in marks)
    begun = len(marks) - AGENTS
    return {
        "trial": f"{case.task}, {results.number(case.seconds)} s",
        "with": peer.name,
        "trials": len(marks),
        "in trials (%)": share_in_trials(marks, begins[0], ends[-1]),
        "without the ends (%)": results.spread(parts),
        "asleep (%)": asleep,
        "between trials (s)": (1 - asleep / 100) * AGENTS * (until_s - since_s) / begun,
        "ramp-up (s)": since_s - begins[0],
        "tail (s)": ends[-1] - ends[-AGENTS],
    }


def measure_all(chosen: Sequence[Peer], cases: Sequence[Case], long: Case, repeat: int) -> list[dict[str, Any]]:
    """A row for each kind of trial, peer and repetition."""
    rows = []
    host = "0.0.0.0" if any(peer.needs_cluster for peer in chosen) else "127.0.0.1"  # nodes of a cluster ask it
    with scratch() as folder, Server(Path(folder), host) as address:
        for case in (*cases, long):
            able = [peer for peer in chosen if case.task == "logs" or not peer.needs_wandb]
            for peer in [p for p in able if p.is_ours] if case is long else able:
                for _ in range(repeat):
                    marks = run(peer, case, address, peer.trials_of(case))
                    rows.append(row(peer, case, marks))
                    print(results.markdown(rows[-1:]), end="\n\n", file=sys.stderr, flush=True)
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    parser = results.parser(__doc__)
    parser.set_defaults(repeat=1)  # each is of hundreds of trials, and their spread is in the table
    parser.add_argument("--only", action="append", default=[], help="peers whose name has this in it")
    parser.add_argument("--trials", type=int, help="of 2 s, in place of 400 and 100")
    options = results.parse(parser, arguments)
    wanted = [peer for peer in PEERS if not options.only or any(name in peer.name for name in options.only)]
    chosen = [peer for peer in wanted if has_cluster() or not peer.needs_cluster]
    cases = QUICK if options.quick else FULL
    if options.trials is not None and options.trials < 2 * AGENTS:
        parser.error(f"--trials={options.trials}: {AGENTS} agents need {2 * AGENTS} at least")
    if options.trials:
        cases = tuple(Case(c.task, c.seconds, options.trials, min(c.slow_trials, options.trials)) for c in cases)
    rows = measure_all(chosen, cases, QUICK_LONG if options.quick else LONG, options.repeat)
    left_out = ", ".join(peer.name for peer in wanted if peer not in chosen)
    note = f"Left out, there is no SLURM cluster: {left_out}." if left_out else ""
    results.report(__file__, __doc__, options, [Table(f"{AGENTS} agents", rows, note)])


if __name__ == "__main__":
    main()
