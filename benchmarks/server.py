"""What the embedded server bears, and whether that depends on how many trials it has seen.

Three measurements against the real server process, on loopback, each of its answers durable:

- growth: sweeps that have 10^2 to 10^5 finished trials in the directory. How long a claim, a heartbeat, a post of
  history and the end of a run take one after another; how many whole trials per second eight agents in a row get;
  how much memory the server has; how long a restart takes. All of it should be flat.
- load: 1,000 agents heartbeat while 200 of their runs stream history and somebody pages through the sweep's runs and
  a long history, on top of the finished trials. How long a claim takes is what an agent, and so a GPU, waits for.
- grids: creating a sweep of 10^2 to 10^6 trials and claiming its first one.

    python benchmarks/server.py            # about 8 minutes
    python benchmarks/server.py --quick    # about 20 seconds, for whether it runs; its figures mean little
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import platform
import signal
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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

KINDS = ("claim", "heartbeat", "stream", "finish")
LINES_PER_TRIAL = 5


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    growth: tuple[int, ...] = (100, 1_000, 10_000, 100_000)
    probes: int = 500
    rush_s: float = 5.0
    load: Load = field(default_factory=Load)
    load_after: int = 100_000
    grids: tuple[int, ...] = (100, 10_000, 100_000, 1_000_000)


QUICK = Scale(
    (50, 100),
    20,
    1.0,
    Load(agents=50, streaming=10, trial_s=2, duration_s=3, read_lines=2_000),
    100,
    (100, 1_000_000),
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
    """Finish so many trials of a sweep of their own, through the server's own code but without HTTP, so that 10^5 of
    them take minutes. To be run in a process of its own, while no server runs."""
    from wandb_sweep_server.filestream import Chunk, StreamPost
    from wandb_sweep_server.records import global_id
    from wandb_sweep_server.runs import RunFields
    from wandb_sweep_server.store import Limits, Store
    from wandb_sweep_server.sweeps import SweepChange

    store = Store(directory, Limits())
    lines = tuple(json.dumps({"loss": 1 / (n + 1), "_step": n}) for n in range(LINES_PER_TRIAL))
    post = StreamPost((Chunk("history", 0, lines),), {"loss": 0.2, "_step": 4}, exit_code=0)
    with store.database.transaction():
        project = store.projects.require(ENTITY, PROJECT)
        sweep = store.sweeps.create(project, SweepChange(config=json.dumps(grid_config(trials))))
        agent = global_id("Agent", store.agents.register(sweep, "node").id)
    for start in range(0, trials, 1000):
        with store.database.transaction():
            for _ in range(start, min(trials, start + 1000)):
                name = store.agents.heartbeat(agent, "{}")[0]["run_id"]
                run, _ = store.runs.announce(project, name, sweep.name, RunFields(), starts=True)
                store.agents.heartbeat(agent, json.dumps({name: True}))
                store.runs.post(run, post)
    store.close()


def memory_mb(pid: int) -> float:
    """Resident memory of a process now, in units of 10^6 bytes; NaN where /proc is missing."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return float("nan")
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024 / 1e6


class Server:
    """The server of a directory, as a context."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.start_s = 0.0

    def __enter__(self) -> ServerAddress:
        started_s = time.perf_counter()
        self._address = ensure_running(self._directory)
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


def measure_growth(folder: Path, scale: Scale) -> list[dict[str, float]]:
    """A row for each number of finished trials."""
    rows = []
    for finished in scale.growth:
        directory = folder / f"growth-{finished}"
        directory.mkdir(mode=0o700)
        in_own_process(fill, directory, finished)
        server = Server(directory)
        with server as address:
            latencies = asyncio.run(probe(address, scale, finished))
            row: dict[str, float] = {"finished": finished, "start_s": server.start_s}
            for kind in KINDS:
                row |= {f"{kind}_p{p}_ms": latencies.quantile(kind, p / 100) * 1000 for p in (50, 99)}
            row["trials_per_s"] = asyncio.run(rush(address, scale))
            row["memory_mb"] = memory_mb(address.pid)
        rows.append(row)
        print(f"growth: {row}", flush=True)
    return rows


def measure_load(folder: Path, scale: Scale) -> dict[str, float]:
    """The figures of many agents at once."""
    directory = folder / f"growth-{scale.load_after}"
    with Server(directory) as address:
        sweep = asyncio.run(_new_sweep(address, grid_config(1_000_000)))
        asyncio.run(log_long_run(address, sweep, scale.load.read_lines))
        before_s = cpu_s(address.pid)
        latencies = asyncio.run(apply_load(address, sweep, scale.load))
        figures: dict[str, float] = {
            "agents": scale.load.agents,
            "streaming": scale.load.streaming,
            "finished": scale.load_after,
            "requests_per_s": sum(map(latencies.count, latencies.by_kind)) / scale.load.duration_s,
            "claims_per_s": latencies.count("claim") / scale.load.duration_s,
            "cpu_share": (cpu_s(address.pid) - before_s) / (scale.load.duration_s + scale.load.heartbeat_every_s),
            "memory_mb": memory_mb(address.pid),
        }
        for kind in (*KINDS, "announce", "read"):
            figures |= {f"{kind}_p{p}_ms": latencies.quantile(kind, p / 100) * 1000 for p in (50, 99)}
    print(f"load: {figures}", flush=True)
    return figures


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
    return {"trials": trials, "create_s": created_s - started_s, "first_claim_s": claimed_s - created_s}


def measure_grids(folder: Path, scale: Scale) -> list[dict[str, float]]:
    """A row for each size of a grid. Its larger axis is listed value by value, as Hydra's choices and ranges are."""
    directory = folder / "grids"
    rows = []
    with Server(directory) as address:
        for trials in scale.grids:
            rows.append(asyncio.run(_first_claim(address, trials)))
            print(f"grid: {rows[-1]}", flush=True)
    return rows


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of figures and texts as Markdown."""
    names = list(rows[0])
    cells = [[f"{row[n]:,.4g}" if isinstance(row[n], float | int) else str(row[n]) for n in names] for row in rows]
    aligned = [" ---: |" if isinstance(rows[0][name], float | int) else " --- |" for name in names]
    return "\n".join(
        ["| " + " | ".join(names) + " |", "|" + "".join(aligned), *("| " + " | ".join(c) + " |" for c in cells)]
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few trials, for whether it runs")
    parser.add_argument("--output", type=Path, help="a file for the figures as JSON")
    options = parser.parse_args(arguments)
    scale = QUICK if options.quick else Scale()
    with tempfile.TemporaryDirectory() as folder:
        growth = measure_growth(Path(folder), scale)
        load = measure_load(Path(folder), scale)
        grids = measure_grids(Path(folder), scale)
    print("\n\n".join(table(rows) for rows in (growth, [load], grids)))
    figures = {
        "machine": {"python": platform.python_version(), "cores": os.cpu_count(), "system": platform.platform()},
        "growth": growth,
        "load": load,
        "grids": grids,
    }
    if options.output:
        options.output.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
