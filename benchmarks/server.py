"""What the embedded server bears, and whether that depends on how many trials it has seen.

Three measurements against the real server process, on loopback, each of its answers durable:

- growth: sweeps that have 10^2 to 10^5 finished trials in the directory. How long a claim, a heartbeat, a post of
  history and the end of a run take one after another; how many whole trials per second eight agents in a row get;
  how much memory the server has; how long a restart takes. All of it should be flat.
- load: 1,000 agents heartbeat while 200 of their runs stream history and somebody pages through the sweep's runs and
  a long history, on top of the finished trials. How long a claim takes is what an agent, and so a GPU, waits for.
- grids: creating a sweep of 10^2 to 10^6 trials and claiming its first one.

    python benchmarks/server.py            # about 5 minutes
    python benchmarks/server.py --quick    # a few seconds
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import results
from results import Row, Table, shown, spread
from scratch import scratch
from server_load import (
    ENTITY,
    PROJECT,
    Connection,
    Latencies,
    Load,
    SimulatedAgent,
    apply_load,
    create_sweep,
    log_long_run,
)

from wandb_sweep_server.launch import ServerAddress, ensure_running

if TYPE_CHECKING:
    from wandb_sweep_server.store import Store

KINDS = ("claim", "heartbeat", "stream", "finish")
LINES_PER_TRIAL = 5


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    growth: tuple[int, ...] = (100, 10_000, 100_000)
    probes: int = 500
    rush_s: float = 3.0
    load: Load = field(default_factory=lambda: Load(duration_s=15))
    load_after: int = 100_000
    grids: tuple[int, ...] = (100, 10_000, 100_000, 1_000_000)


QUICK = Scale(
    growth=(50, 100),
    probes=20,
    rush_s=0.5,
    load=Load(
        agents=50, streaming=10, heartbeat_every_s=1, stream_every_s=1, trial_s=2, duration_s=2, read_lines=2_000
    ),
    load_after=100,
    grids=(100, 100_000),
)


def grid_config(trials: int) -> dict[str, Any]:
    """A grid of (at least) so many trials: one axis of 10 values, the other of the rest."""
    return {
        "method": "grid",
        "program": "train.py",
        "metric": {"name": "loss", "goal": "minimize"},
        "parameters": {
            "seed": {"values": list(range(-(-trials // 10)))},
            "lr": {"values": [10**-k for k in range(10)]},
        },
    }


def fill(directory: Path, trials: int) -> None:
    """Finish so many trials of a sweep of their own. To be run in a process of its own, while no server runs."""
    from wandb_sweep_server.store import Limits, Store
    from wandb_sweep_server.sweeps import SweepChange

    store = Store(directory, Limits())
    with store.database.transaction():
        project = store.projects.require(ENTITY, PROJECT)
        sweep = store.sweeps.create(project, SweepChange(config=json.dumps(grid_config(trials))))
    for _ in finish_trials(store, sweep.name, trials):
        pass
    store.close()


def finish_trials(store: Store, sweep_name: str, trials: int) -> Iterator[dict[str, Any]]:
    """Finish so many trials of a sweep, through the server's own code but without HTTP, so that 10^5 of them take
    minutes. Yields the command by which an agent would have got each."""
    from wandb_sweep_server.filestream import Chunk, StreamPost
    from wandb_sweep_server.records import global_id
    from wandb_sweep_server.runs import RunFields

    lines = tuple(json.dumps({"loss": 1 / (n + 1), "_step": n}) for n in range(LINES_PER_TRIAL))
    post = StreamPost((Chunk("history", 0, lines),), {"loss": 0.2, "_step": 4}, exit_code=0)
    with store.database.transaction():
        project = store.projects.require(ENTITY, PROJECT)
        sweep = store.sweeps.by_name(project.id, sweep_name)
        if sweep is None:
            raise RuntimeError(f"no sweep {sweep_name} in {ENTITY}/{PROJECT}")
        agent = global_id("Agent", store.agents.register(sweep, "node").id)
    for start in range(0, trials, 1000):
        commands = []
        with store.database.transaction():
            for _ in range(start, min(trials, start + 1000)):
                commands.append(store.agents.heartbeat(agent, "{}")[0])
                name = commands[-1]["run_id"]
                run, _ = store.runs.announce(project, name, sweep.name, RunFields(), starts=True)
                store.agents.heartbeat(agent, json.dumps({name: True}))
                store.runs.post(run, post)
        yield from commands


def memory_mb(pid: int) -> float:
    """Resident memory of a process now, in units of 10^6 bytes; NaN where /proc is missing."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return float("nan")
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024 / 1e6


class Server:
    """The server of a directory, as a context. host: what it listens on."""

    def __init__(self, directory: Path, host: str = "127.0.0.1") -> None:
        self._directory = directory
        self._host = host
        self.start_s = 0.0

    def __enter__(self) -> ServerAddress:
        started_s = time.perf_counter()
        self._address = ensure_running(self._directory, host=self._host)
        self.start_s = time.perf_counter() - started_s
        return self._address

    def __exit__(self, *_: object) -> None:
        os.kill(self._address.pid, signal.SIGTERM)
        # Not a child of this process once it is a daemon.
        while Path(f"/proc/{self._address.pid}").exists() and (self._directory / "server.json").exists():
            time.sleep(0.01)


async def probe(address: ServerAddress, scale: Scale, finished: int) -> Latencies:
    """One agent does one thing after the other."""
    connection = Connection(address)
    sweep = await create_sweep(connection, grid_config(max(1_000_000, finished)))
    latencies = Latencies()
    agent = SimulatedAgent(address, sweep, latencies)
    await agent.join()
    for _ in range(scale.probes):
        await agent.claim()
        await agent.announce()
        await agent.heartbeat("listing")
        await agent.heartbeat()
        await agent.stream(0, LINES_PER_TRIAL)
        await agent.finish()
    agent.close()
    connection.close()
    return latencies


async def rush(address: ServerAddress, scale: Scale) -> float:
    """Whole trials per second that eight agents get who do nothing but claim, announce, log and finish."""
    connection = Connection(address)
    sweep = await create_sweep(connection, grid_config(1_000_000))
    agents = [SimulatedAgent(address, sweep, Latencies()) for _ in range(8)]
    end_s = time.perf_counter() + scale.rush_s

    async def hurry(agent: SimulatedAgent) -> int:
        await agent.join()
        trials = 0
        while time.perf_counter() < end_s:
            await agent.claim()
            await agent.announce()
            await agent.stream(0, LINES_PER_TRIAL)
            await agent.finish()
            trials += 1
        agent.close()
        return trials

    trials = sum(await asyncio.gather(*map(hurry, agents)))
    connection.close()
    return trials / scale.rush_s


def in_own_process(work: Callable[..., None], *arguments: Any) -> None:
    """Do work whose memory and garbage are not to weigh on what is measured."""
    process = multiprocessing.get_context("spawn").Process(target=work, args=arguments)
    process.start()
    process.join()
    if process.exitcode != 0:
        raise RuntimeError(f"{work.__name__} ended with status {process.exitcode}")


def spreads(measurements: Sequence[dict[str, float]]) -> dict[str, Any]:
    """The spread of each figure that was measured again and again."""
    return {name: spread([figures[name] for figures in measurements]) for name in measurements[0]}


def measure_growth(folder: Path, scale: Scale, repeat: int) -> list[Row]:
    """A row for each number of finished trials. The directories are left in the folder."""
    rows: list[Row] = []
    for finished in scale.growth:
        directory = folder / f"growth-{finished}"
        directory.mkdir(mode=0o700)
        in_own_process(fill, directory, finished)
        figures = []
        for number in range(repeat):
            # A copy: measuring finishes thousands of trials itself.
            copy = folder / f"copy-{number}"
            shutil.copytree(directory, copy)
            figures.append(_after(copy, scale, finished))
            shutil.rmtree(copy)
        rows.append({"finished trials": finished, **spreads(figures)})
        print(f"growth: after {finished} trials", file=sys.stderr)
    return rows


def _after(directory: Path, scale: Scale, finished: int) -> dict[str, float]:
    server = Server(directory)
    with server as address:
        latencies = asyncio.run(probe(address, scale, finished))
        return {
            **{f"{kind} p{p} (ms)": latencies.quantile(kind, p / 100) * 1000 for kind in KINDS for p in (50, 99)},
            "whole trials per s": asyncio.run(rush(address, scale)),
            "memory (MB)": memory_mb(address.pid),
            "restart (s)": server.start_s,
        }


def measure_load(folder: Path, scale: Scale, repeat: int) -> Table:
    """A row for each kind of request. The folder is that of `measure_growth`."""
    load = scale.load
    with Server(folder / f"growth-{scale.load_after}") as address:
        sweep = asyncio.run(_new_sweep(address, grid_config(1_000_000)))
        asyncio.run(log_long_run(address, sweep, load.read_lines))
        measured: list[Latencies] = []
        shares: list[float] = []
        for number in range(repeat):
            before_s = cpu_s(address.pid)
            measured.append(asyncio.run(apply_load(address, sweep, load)))
            shares.append((cpu_s(address.pid) - before_s) / (load.duration_s + load.heartbeat_every_s))
            print(f"load: {number + 1} of {repeat}", file=sys.stderr)
        memory = memory_mb(address.pid)
    rows: list[Row] = []
    for kind in (*KINDS, "announce", "read"):
        row: dict[str, Any] = {"request": kind}
        row["per s"] = spread([latencies.count(kind) / load.duration_s for latencies in measured])
        for p in (50, 99):
            row[f"p{p} (ms)"] = spread([latencies.quantile(kind, p / 100) * 1000 for latencies in measured])
        rows.append(row)
    per_s = spread([sum(map(each.count, each.by_kind)) / load.duration_s for each in measured])
    rows.append({"request": "all", "per s": per_s})
    note = (
        f"{load.agents:,} agents, {load.streaming:,} of whose runs stream history, after {scale.load_after:,} "
        f"finished trials. The server takes {shown(spread(shares))} of a core and {memory:.0f} MB."
    )
    return Table("Server: many agents at once", rows, note)


def cpu_s(pid: int) -> float:
    """Processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _new_sweep(address: ServerAddress, config: dict[str, Any]) -> str:
    connection = Connection(address)
    name = await create_sweep(connection, config)
    connection.close()
    return name


async def _first_claim(address: ServerAddress, trials: int) -> dict[str, float]:
    config = grid_config(trials)
    started_s = time.perf_counter()
    sweep = await _new_sweep(address, config)
    created_s = time.perf_counter()
    agent = SimulatedAgent(address, sweep, Latencies())
    await agent.join()
    await agent.claim()
    claimed_s = time.perf_counter()
    agent.close()
    return {"create (s)": created_s - started_s, "first claim after (s)": claimed_s - created_s}


def measure_grids(folder: Path, scale: Scale, repeat: int) -> list[Row]:
    """A row for each size of a grid. Its larger axis is listed value by value, as Hydra's choices and ranges are."""
    rows: list[Row] = []
    with Server(folder / "grids") as address:
        for trials in scale.grids:
            figures = [asyncio.run(_first_claim(address, trials)) for _ in range(repeat)]
            rows.append({"trials of the sweep": trials, **spreads(figures)})
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    options = results.parse(results.parser(__doc__), arguments)
    scale = QUICK if options.quick else Scale()
    with scratch() as folder:
        tables = [
            Table("Server: after so many finished trials", measure_growth(Path(folder), scale, options.repeat)),
            measure_load(Path(folder), scale, options.repeat),
            Table("Server: making a sweep", measure_grids(Path(folder), scale, options.repeat)),
        ]
    results.report(__file__, __doc__, options, tables)


if __name__ == "__main__":
    main()
