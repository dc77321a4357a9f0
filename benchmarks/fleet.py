"""What a large fleet costs beside its trials, and whether that grows: 80 agents, 4,000 trials that do nothing.

The agents are real: 4 jobs of the submitit launcher on this machine with 20 agents each, against the embedded server.
Their trials return a number at once, so that nothing hides what claims, records and watching cost. Figures are of
the processes' own time and memory in /proc; on a machine with fewer cores than agents, seconds on the clock say
little. (There a trial that does nothing may also last so long that W&B's SDK would be called for; it isn't here,
hydra.sweeper.sdk_after_s is an hour.)

- Over time: the trials in quarters. CPU seconds of the supervisor per 1,000 trials; CPU milliseconds per trial of the
  agents (their own: claiming, settling), of the trials' processes, and of the server. If a row is worse than
  the one before it, something grows with the trials. Memory at its end: the supervisor's, and an agent's, as its
  proportional share (PSS: agents are forked from one process and share most of theirs) and as all that it has mapped
  (RSS).
- A fleet that waits: the same 80 agents in a paused sweep. What supervisor, agents and server cost per minute.
- Requests per trial: what the server is asked, counted by a proxy, in a smaller sweep.
- The file system: what one agent asks of it per trial, by the function that asks. On a network file system each is a
  round trip, and there it is these that agents wait for.

    python benchmarks/fleet.py            # about 6 minutes
    python benchmarks/fleet.py --quick    # half a minute
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import results
from commands import plugin
from counting_proxy import CountingProxy
from results import Table
from scratch import scratch
from server import Server

from hydra_plugins.hydra_wandb_sweeper._control import Control
from hydra_plugins.hydra_wandb_sweeper._events import DIRECTORY
from hydra_plugins.hydra_wandb_sweeper._server import LOCAL_DIRECTORY
from wandb_sweep_server.address import ServerAddress, write_address

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Scale:
    """jobs, agents_per_job: of the fleet. trials: that it runs. idle_s: for how long it is watched while it waits.
    requests_of: trials of the sweep whose requests are counted. calls_of: trials of two sweeps with one agent, whose
    difference is what a trial asks of the file system."""

    jobs: int = 4
    agents_per_job: int = 20
    trials: int = 4_000
    quarters: int = 4
    idle_s: float = 30.0
    requests_of: int = 40
    calls_of: tuple[int, int] = (10, 50)

    @property
    def agents(self) -> int:
        return self.jobs * self.agents_per_job


QUICK = Scale(jobs=2, agents_per_job=2, trials=16, quarters=2, idle_s=2.0, requests_of=8, calls_of=(2, 4))


# --- processes ---


@dataclass(frozen=True)
class Cpu:
    """CPU seconds of groups of processes so far."""

    supervisor: float = 0.0
    agents: float = 0.0
    trials: float = 0.0
    server: float = 0.0

    def __sub__(self, other: Cpu) -> Cpu:
        return Cpu(*(a - b for a, b in zip(_fields(self), _fields(other), strict=True)))


def _fields(cpu: Cpu) -> tuple[float, ...]:
    return (cpu.supervisor, cpu.agents, cpu.trials, cpu.server)


def cpu_s(pid: int) -> tuple[float, float]:
    """CPU seconds of a process, and of its children that have ended; zeros if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0, 0.0
    user, system, of_children, system_of_children = (int(f) for f in fields[11:15])
    return (user + system) / _TICKS, (of_children + system_of_children) / _TICKS


def memory_mb(pid: int, kind: str) -> float:
    """Memory of a process in units of 10^6 bytes, NaN if it has ended. kind: Rss, or Pss, in which what processes
    share is divided among them."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        lines = []
    found = [int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(f"{kind}:")]
    return found[0] if found else float("nan")


def mean(values: Sequence[float]) -> float:
    """Of those that aren't NaN."""
    known = [value for value in values if value == value]
    return sum(known) / len(known) if known else float("nan")


@dataclass
class Fleet:
    """A sweep under way. marks: a file with a byte per trial that has run."""

    process: subprocess.Popen[bytes]
    directory: Path
    marks: Path
    server: ServerAddress

    def agents(self) -> list[int]:
        """Pids of the agents that have started."""
        events = (self.directory / DIRECTORY / "events").glob("agent-*.jsonl")
        return [json.loads(path.read_text().partition("\n")[0])["pid"] for path in events]

    def ended(self) -> int:
        """How many trials have run."""
        return self.marks.stat().st_size

    def cpu(self, agents: Sequence[int]) -> Cpu:
        """What its processes have used so far. Those that supervise others count their own time only."""
        own, children = zip(*map(cpu_s, agents), strict=True)
        return Cpu(cpu_s(self.process.pid)[0], sum(own), sum(children), cpu_s(self.server.pid)[0])

    def wait(self) -> None:
        """Until the sweep has ended. Raises RuntimeError with its last words if it failed."""
        if self.process.wait() != 0:
            raise RuntimeError((self.directory.parent / "output").read_text(errors="replace")[-3000:])


@contextmanager
def fleet(address: ServerAddress, url: str, options: Sequence[str], trials: int, **env: str) -> Iterator[Fleet]:
    """Start a sweep of so many trials. address: of its server; url: where that is asked."""
    # Agents of a sweep that failed may still write there.
    with scratch() as folder:
        directory, marks = Path(folder) / "sweep", Path(folder) / "marks"
        marks.touch()
        place = Path(folder) / LOCAL_DIRECTORY
        place.mkdir()
        write_address(replace(address, url=url, directory=place))
        own = ("hydra.sweeper.sdk_after_s=3600", f"hydra.sweep.dir={directory}")
        command = [*plugin(*own, *options)(address, 1)[:-1], f"x=range({trials})"]
        env = {**os.environ, "TRIAL": "counting", "MARKS": str(marks), **env}
        with open(Path(folder) / "output", "wb") as output:
            process = subprocess.Popen(command, cwd=folder, env=env, stdout=output, stderr=output)
        try:
            yield Fleet(process, directory, marks, address)
        finally:
            if process.poll() is None:
                Control(directory / DIRECTORY).cancel()  # its agents would go on without it
            process.kill()
            process.wait()


def agents_of(scale: Scale) -> list[str]:
    """The options of a fleet."""
    return [
        "hydra/launcher=submitit_local",
        f"hydra.sweeper.agents={scale.agents}",
        f"hydra.sweeper.agents_per_job={scale.agents_per_job}",
    ]


@contextmanager
def waiting_fleet(address: ServerAddress, url: str, scale: Scale, trials: int) -> Iterator[tuple[Fleet, list[int]]]:
    """A fleet whose agents are all there and wait, as their sweep is paused; with their pids."""
    with fleet(address, url, agents_of(scale), trials) as started:
        events = started.directory / DIRECTORY / "events"
        while not events.exists():
            time.sleep(0.01)
        Control(started.directory / DIRECTORY).pause()
        while len(started.agents()) < scale.agents:
            if started.process.poll() is not None:
                started.wait()
            time.sleep(0.2)
        yield started, started.agents()


# --- measurements ---


def over_time(address: ServerAddress, scale: Scale) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of the fleet at work, one for each quarter of its trials, and of the fleet that waits."""
    with waiting_fleet(address, address.url, scale, scale.trials) as (running, agents):
        idle = idle_row(running, agents, scale)
        Control(running.directory / DIRECTORY).resume()
        rows, moments = [], [moment(running, agents)]
        for quarter in range(scale.quarters):
            # Agents end with the last trials, and with them their figures.
            until = (scale.trials - scale.agents) * (quarter + 1) // scale.quarters
            while running.ended() < until and running.process.poll() is None:
                time.sleep(0.02)
            now = moment(running, agents)
            if now.ended == moments[-1].ended:
                continue  # the figures of the last row took longer than the trials of this one
            moments.append(now)
            rows.append(quarter_row(running, agents, *moments[-2:]))
            print(results.markdown(rows[-1:]), end="\n\n", file=sys.stderr, flush=True)
        running.wait()
    return rows, [idle]


def idle_row(running: Fleet, agents: Sequence[int], scale: Scale) -> dict[str, Any]:
    """What a fleet costs that waits."""
    before = running.cpu(agents)
    time.sleep(scale.idle_s)
    used, minutes = running.cpu(agents) - before, scale.idle_s / 60
    return {
        "agents": len(agents),
        "supervisor (CPU s per min)": used.supervisor / minutes,
        "an agent (CPU ms per min)": 1000 * used.agents / minutes / len(agents),
        "server (CPU s per min)": used.server / minutes,
        "supervisor, PSS (MB)": memory_mb(running.process.pid, "Pss"),
        "an agent, PSS (MB)": mean([memory_mb(pid, "Pss") for pid in agents]),
        "an agent, RSS (MB)": mean([memory_mb(pid, "Rss") for pid in agents]),
    }


@dataclass(frozen=True)
class Moment:
    """What a fleet has used and done by a moment of the clock."""

    cpu: Cpu
    ended: int
    clock_s: float


def moment(running: Fleet, agents: Sequence[int]) -> Moment:
    """Now."""
    return Moment(running.cpu(agents), running.ended(), time.monotonic())


def quarter_row(running: Fleet, agents: Sequence[int], before: Moment, now: Moment) -> dict[str, Any]:
    """What the trials between two moments have cost."""
    used, trials, seconds = now.cpu - before.cpu, now.ended - before.ended, now.clock_s - before.clock_s
    alive = [pid for pid in agents if Path(f"/proc/{pid}").exists()]
    return {
        "trials": f"{before.ended:,} to {now.ended:,}",
        "trials per s": trials / seconds,
        "supervisor (CPU s per 1,000)": 1000 * used.supervisor / trials,
        "agents (CPU ms per trial)": 1000 * used.agents / trials,
        "trials (CPU ms per trial)": 1000 * used.trials / trials,
        "server (CPU ms per trial)": 1000 * used.server / trials,
        "supervisor, PSS (MB)": memory_mb(running.process.pid, "Pss"),
        "an agent, PSS (MB)": mean([memory_mb(pid, "Pss") for pid in alive]),
        "an agent, RSS (MB)": mean([memory_mb(pid, "Rss") for pid in alive]),
    }


def requests(address: ServerAddress, scale: Scale) -> list[dict[str, Any]]:
    """What the server is asked by a fleet that waits, and by one that works."""
    with CountingProxy(address.url) as proxy:
        few = replace(scale, jobs=1, agents_per_job=4)
        with waiting_fleet(address, proxy.url, few, scale.requests_of) as (running, _):
            before = proxy.counts()
            time.sleep(scale.idle_s)
            idle = proxy.counts() - before
            before = proxy.counts()
            Control(running.directory / DIRECTORY).resume()
            running.wait()
        working = proxy.counts() - before
    rows = [
        {
            "request": name,
            "per trial": working[name] / scale.requests_of,
            "per agent and minute, waiting": idle[name] * 60 / scale.idle_s / few.agents,
        }
        for name in sorted(working | idle, key=lambda name: -working[name])
    ]
    return [*rows, {"request": "all", **{n: sum(row[n] for row in rows) for n in list(rows[0])[1:]}}]


def calls(address: ServerAddress, scale: Scale) -> list[dict[str, Any]]:
    """What one agent asks of the file system per trial: the difference between a longer and a shorter sweep."""
    counts = []
    for trials in scale.calls_of:
        with scratch() as folder:
            path = Path(folder) / "calls"
            with fleet(address, address.url, [], trials, CALLS=str(path)) as running:
                running.wait()
            counts.append(Counter(json.loads(path.read_text())))
    few, many = counts
    trials = scale.calls_of[1] - scale.calls_of[0]
    per_trial = {name: (many[name] - few[name]) / trials for name in many if many[name] - few[name] >= trials / 2}
    functions: dict[str, list[str]] = {}
    for name, count in per_trial.items():
        function, call = name.split(" ")
        functions.setdefault(function, []).append(f"{results.number(count)} {call}")
    rows = [{"function": name, "calls": ", ".join(functions[name]), "per trial": 0.0} for name in functions]
    for row in rows:
        row["per trial"] = sum(n for name, n in per_trial.items() if name.split(" ")[0] == row["function"])
    return [*rows, {"function": "all", "calls": "", "per trial": sum(per_trial.values())}]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = results.parser(__doc__)
    parser.set_defaults(repeat=1)  # its rows are repetitions of each other
    parser.add_argument("--trials", type=int, help="in place of 4,000")
    options = results.parse(parser, arguments)
    scale = QUICK if options.quick else Scale()
    if options.trials:
        scale = Scale(trials=options.trials)
    with scratch() as folder, Server(Path(folder) / "server") as address:
        per_call, per_request = calls(address, scale), requests(address, scale)
        working, waiting = over_time(address, scale)
    tables = [
        Table(f"{scale.agents} agents at work", working),
        Table(f"{scale.agents} agents that wait", waiting),
        Table("Requests", per_request),
        Table("File system, an agent", per_call),
    ]
    results.report(__file__, __doc__, options, tables)


if __name__ == "__main__":
    main()
