"""A store on a real SQLite file, with a clock that tests set, and the requests of agents and processes in short."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from wandb_sweep_server.clock import Clock
from wandb_sweep_server.filestream import parse_post
from wandb_sweep_server.records import Agent, Project, Run, Sweep, global_id
from wandb_sweep_server.runs import RunFields
from wandb_sweep_server.store import Limits, Store
from wandb_sweep_server.sweeps import SweepChange

T = TypeVar("T")

GRID_OF_FOUR = {"a": {"values": [1, 2]}, "b": {"values": ["x", "y"]}}


@dataclass
class FakeTime:
    """Both clocks of the server; they stand still unless a test moves them."""

    now_s: float = 1_700_000_000.0
    jumped_s: float = 0.0

    def clock(self) -> Clock:
        return Clock(wall_s=lambda: self.now_s + self.jumped_s, monotonic_s=lambda: self.now_s)

    def jump_s(self, seconds: float) -> None:
        """Somebody sets the wall clock."""
        self.jumped_s += seconds

    def pass_s(self, seconds: float) -> None:
        self.now_s += seconds


@dataclass
class Server:
    """What the resolvers do, without HTTP and GraphQL: each call is one transaction of the store."""

    directory: Path
    limits: Limits = field(default_factory=Limits)
    time: FakeTime = field(default_factory=FakeTime)

    def __post_init__(self) -> None:
        self.open()

    def open(self) -> None:
        self.store = Store(self.directory, self.limits, self.time.clock())
        # Tests end no machine: what is committed need not reach the disk.
        self.store.database.execute("PRAGMA synchronous = OFF")

    def reopen(self) -> None:
        """What a restart of the server is to its data."""
        self.store.close()
        self.open()

    def transaction(self) -> AbstractContextManager[None]:
        return self.store.database.transaction()

    def do(self, work: Callable[[], T]) -> T:
        with self.transaction():
            return work()

    def project(self) -> Project:
        return self.do(lambda: self.store.projects.require(None, "p"))

    def sweep(self, parameters: Any = None, method: str = "grid", **more: Any) -> Sweep:
        config = {"method": method, "parameters": parameters or GRID_OF_FOUR, "program": "train.py", **more}
        return self.do(lambda: self.store.sweeps.create(self.project_row(), SweepChange(config=json.dumps(config))))

    def project_row(self) -> Project:
        return self.store.projects.require(None, "p")

    def sweep_now(self, sweep: Sweep) -> Sweep:
        found = self.store.sweeps.by_id(sweep.id)
        assert found is not None
        return found

    def config_text(self, sweep: Sweep) -> str:
        return self.store.sweeps.config_text(sweep)

    def set_sweep(self, sweep: Sweep, state: str) -> Sweep:
        return self.do(lambda: self.store.sweeps.change(self.sweep_now(sweep), SweepChange(state=state)))

    def agent(self, sweep: Sweep, host: str = "node1") -> Agent:
        return self.do(lambda: self.store.agents.register(self.sweep_now(sweep), host))

    def heartbeat(self, agent: Agent, *alive: str) -> list[dict[str, Any]]:
        state = json.dumps(dict.fromkeys(alive, True))
        return self.do(lambda: self.store.agents.heartbeat(global_id("Agent", agent.id), state))

    def claim(self, agent: Agent) -> str:
        """The name of the one run that a heartbeat of an idle agent hands out."""
        (command,) = self.heartbeat(agent)
        assert command["type"] in ("run", "resume"), command
        return str(command["run_id"])

    def run(self, name: str) -> Run:
        found = self.store.runs.by_name(self.project_row().id, name)
        assert found is not None
        return found

    def runs(self) -> list[Run]:
        return [Run(**dict(row)) for row in self.store.database.rows("SELECT * FROM runs ORDER BY id")]

    def start(self, name: str | None, sweep: Sweep | None = None, **fields: Any) -> Run:
        """A process announces its run."""
        sweep_name = sweep.name if sweep else None
        announce = self.store.runs.announce
        return self.do(lambda: announce(self.project_row(), name, sweep_name, RunFields(**fields), starts=True)[0])

    def post(self, name: str, message: dict[str, Any]) -> Run:
        """A process streams."""
        return self.do(lambda: self.store.runs.post(self.run(name), parse_post(json.dumps(message).encode())))

    def exit(self, name: str, code: int = 0) -> Run:
        return self.post(name, {"complete": True, "exitcode": code})

    def stop_run(self, name: str) -> Run:
        self.do(lambda: self.store.runs.request_stop(self.run(name)))
        return self.run(name)

    def keep_house(self) -> None:
        self.do(self.store.agents.lose_silent_runs)

    def lines(self, name: str, stream: str = "history") -> list[str]:
        return [text for _, text in self.store.runs.lines(self.run(name), stream, 0, 10_000)]
