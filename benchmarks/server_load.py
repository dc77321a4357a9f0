"""Clients of the embedded server for its benchmark: many agents in one event loop, over bare HTTP.

Each agent is one connection, as a real one is. What is sent is what W&B's SDK sends, with shorter query texts.
Latencies are those a client sees: from before the request is written until the answer is read.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import random
import time
from collections import defaultdict
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from wandb_sweep_server.launch import ServerAddress

PROJECT = "benchmark"
ENTITY = "local"

CREATE_SWEEP = """
mutation UpsertSweep($config: String, $entity: String, $project: String) {
  upsertSweep(input: {config: $config, entityName: $entity, projectName: $project}) { sweep { id name } }
}"""
CREATE_AGENT = """
mutation CreateAgent($host: String!, $project: String, $entity: String, $sweep: String!) {
  createAgent(input: {host: $host, projectName: $project, entityName: $entity, sweep: $sweep}) { agent { id } }
}"""
HEARTBEAT = """
mutation Heartbeat($id: ID!, $runState: JSONString) {
  agentHeartbeat(input: {id: $id, metrics: "{}", runState: $runState}) { agent { id } commands }
}"""
ANNOUNCE = """
mutation UpsertBucket($name: String, $entity: String, $project: String, $sweep: String) {
  upsertBucket(input: {name: $name, entityName: $entity, modelName: $project, sweep: $sweep}) {
    bucket { id } inserted
  }
}"""

RUNS = """
query Runs($entity: String!, $project: String!, $filters: JSONString, $cursor: String) {
  project(name: $project, entityName: $entity) {
    runs(filters: $filters, after: $cursor, first: 50, order: "+created_at") {
      edges { node { name state config summaryMetrics } }
      pageInfo { endCursor hasNextPage }
    }
  }
}"""
HISTORY = """
query HistoryPage($entity: String!, $project: String!, $run: String!, $minStep: Int64!, $maxStep: Int64!) {
  project(name: $project, entityName: $entity) {
    run(name: $run) { history(minStep: $minStep, maxStep: $maxStep) }
  }
}"""
LONG_RUN = "long-run"
READ_EVERY_S = 1.0
STEPS_PER_PAGE = 1_000  # as `scan_history` has them


@dataclass
class Latencies:
    """Seconds per request, by what was asked for."""

    by_kind: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    async def timed(self, kind: str, request: Awaitable[Any]) -> Any:
        """The answer to a request, whose time is noted."""
        started_s = time.perf_counter()
        answer = await request
        self.by_kind[kind].append(time.perf_counter() - started_s)
        return answer

    def quantile(self, kind: str, share: float) -> float:
        """The value that `share` of the requests of a kind stayed below, in seconds; NaN if there were none."""
        values = sorted(self.by_kind[kind])
        return values[min(len(values) - 1, int(share * len(values)))] if values else float("nan")

    def count(self, kind: str) -> int:
        """How many requests of a kind were answered."""
        return len(self.by_kind[kind])


class Connection:
    """One keep-alive connection to the server; one request at a time."""

    def __init__(self, address: ServerAddress) -> None:
        parts = urlsplit(address.url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        key = base64.b64encode(f"api:{address.api_key}".encode()).decode()
        self._head = f"Host: {self._host}\r\nAuthorization: Basic {key}\r\nContent-Type: application/json\r\n"
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, message: Any) -> Any:
        """Send JSON, return JSON.

        Raises:
            RuntimeError: The status isn't 200, or GraphQL answered with errors.
        """
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port)
        reader, writer = self._streams
        body = json.dumps(message).encode()
        writer.write(f"POST {path} HTTP/1.1\r\n{self._head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(int(line[15:]) for line in head.lower().split("\r\n") if line.startswith("content-length:"))
        answer = await reader.readexactly(length)
        if " 200 " not in head.split("\r\n", 1)[0]:
            raise RuntimeError(f"{path}: {head.splitlines()[0]}: {answer.decode()}")
        return json.loads(answer)

    async def stream(self, run: str, first_line: int, lines: int) -> None:
        """Lines of a run's history, and its summary."""
        numbers = range(first_line, first_line + lines)
        rows = [json.dumps({"loss": 1 / (n + 1), "_step": n, "_timestamp": 1e9 + n}) for n in numbers]
        files = {
            "wandb-history.jsonl": {"offset": first_line, "content": rows},
            "wandb-summary.json": {"offset": 0, "content": [rows[-1]]},
        }
        await self.post(stream_path(run), {"files": files})

    async def graphql(self, query: str, **variables: Any) -> dict[str, Any]:
        """The data of a GraphQL answer."""
        answer: dict[str, Any] = await self.post("/graphql", {"query": query, "variables": variables})
        if answer.get("errors"):
            raise RuntimeError(str(answer["errors"]))
        data: dict[str, Any] = answer["data"]
        return data

    def close(self) -> None:
        """Drop the connection."""
        if self._streams is not None:
            self._streams[1].close()


def stream_path(run: str) -> str:
    """Where the process of a run posts what it logs."""
    return f"/files/{ENTITY}/{PROJECT}/{run}/file_stream"


async def create_sweep(connection: Connection, config: dict[str, Any]) -> str:
    """The name of a new sweep."""
    data = await connection.graphql(CREATE_SWEEP, config=json.dumps(config), entity=ENTITY, project=PROJECT)
    name: str = data["upsertSweep"]["sweep"]["name"]
    return name


class SimulatedAgent:
    """One agent of a sweep: claims trials, and lives them as the SDK and its agent would."""

    def __init__(self, address: ServerAddress, sweep: str, latencies: Latencies) -> None:
        self._connection = Connection(address)
        self._sweep = sweep
        self.latencies = latencies
        self._id = ""
        self.run: str | None = None

    async def join(self) -> None:
        """Register with the sweep."""
        data = await self._connection.graphql(
            CREATE_AGENT, host="node", project=PROJECT, entity=ENTITY, sweep=self._sweep
        )
        self._id = data["createAgent"]["agent"]["id"]

    async def timed(self, kind: str, request: Awaitable[Any]) -> Any:
        """The answer to a request, whose time is noted."""
        return await self.latencies.timed(kind, request)

    async def heartbeat(self, kind: str = "heartbeat") -> list[dict[str, Any]]:
        """Say what is alive; the commands in the answer."""
        alive = json.dumps({self.run: True} if self.run else {})
        data = await self.timed(kind, self._connection.graphql(HEARTBEAT, id=self._id, runState=alive))
        commands: list[dict[str, Any]] = json.loads(data["agentHeartbeat"]["commands"])
        return commands

    async def claim(self) -> None:
        """Get the next trial.

        Raises:
            RuntimeError: The sweep has none left.
        """
        commands = await self.heartbeat("claim")
        if [command["type"] for command in commands] not in (["run"], ["resume"]):
            raise RuntimeError(f"no trial, but {commands}")
        self.run = commands[0]["run_id"]

    async def announce(self) -> None:
        """What `wandb.init` tells the server."""
        request = self._connection.graphql(ANNOUNCE, name=self.run, entity=ENTITY, project=PROJECT, sweep=self._sweep)
        await self.timed("announce", request)

    async def stream(self, first_line: int, lines: int) -> None:
        """Lines of history and the summary."""
        if self.run is None:
            raise RuntimeError("an agent without a trial has nothing to stream")
        await self.timed("stream", self._connection.stream(self.run, first_line, lines))

    async def finish(self) -> None:
        """The trial ends well."""
        if self.run is None:
            raise RuntimeError("an agent without a trial has nothing to finish")
        request = self._connection.post(stream_path(self.run), {"complete": True, "exitcode": 0})
        await self.timed("finish", request)
        self.run = None

    def close(self) -> None:
        """Go away."""
        self._connection.close()


async def log_long_run(address: ServerAddress, sweep: str, lines: int) -> None:
    """Give the sweep a run with a history of so many lines, in whole pages."""
    connection = Connection(address)
    await connection.graphql(ANNOUNCE, name=LONG_RUN, entity=ENTITY, project=PROJECT, sweep=sweep)
    for line in range(0, lines, STEPS_PER_PAGE):
        await connection.stream(LONG_RUN, line, STEPS_PER_PAGE)
    connection.close()


class Reader:
    """Somebody who looks on: pages through the runs of a sweep and through the history of its long run, in turn."""

    def __init__(self, address: ServerAddress, sweep: str, history_lines: int) -> None:
        self._connection = Connection(address)
        self._sweep = sweep
        self._history_lines = history_lines

    async def read(self, latencies: Latencies, end_s: float) -> None:
        """One request after another until then, by `time.perf_counter`; begins again where a list ends."""
        cursor: str | None = None
        steps = itertools.cycle(range(0, self._history_lines, STEPS_PER_PAGE))
        while time.perf_counter() < end_s:
            cursor = await self._read_runs(latencies, cursor)
            await asyncio.sleep(READ_EVERY_S)
            await self._read_history(latencies, next(steps))
            await asyncio.sleep(READ_EVERY_S)

    async def _read_runs(self, latencies: Latencies, cursor: str | None) -> str | None:
        filters = json.dumps({"sweep": self._sweep})
        request = self._connection.graphql(RUNS, entity=ENTITY, project=PROJECT, filters=filters, cursor=cursor)
        page = (await latencies.timed("read", request))["project"]["runs"]["pageInfo"]
        return page["endCursor"] if page["hasNextPage"] else None

    async def _read_history(self, latencies: Latencies, step: int) -> None:
        bounds = {"minStep": step, "maxStep": step + STEPS_PER_PAGE}
        request = self._connection.graphql(HISTORY, entity=ENTITY, project=PROJECT, run=LONG_RUN, **bounds)
        lines = (await latencies.timed("read", request))["project"]["run"]["history"]
        if len(lines) != STEPS_PER_PAGE:
            raise RuntimeError(f"{len(lines)} lines of history in place of {STEPS_PER_PAGE}")

    def close(self) -> None:
        """Go away."""
        self._connection.close()


@dataclass(frozen=True)
class Load:
    """A cluster at work. Times in seconds.

    `heartbeat_every_s` is the fixed poll of W&B's own agents; `stream_every_s` that of the SDK's oldest uploader
    (newer ones send every 15 s). `read_lines`: of the history that somebody reads meanwhile, in whole pages.
    """

    agents: int = 1000
    streaming: int = 200
    heartbeat_every_s: float = 5.0
    stream_every_s: float = 2.0
    lines_per_post: int = 20
    read_lines: int = 100_000
    trial_s: float = 50.0
    duration_s: float = 60.0
    seed: int = 0


async def apply_load(address: ServerAddress, sweep: str, load: Load) -> Latencies:
    """Let agents work for a while.

    Each has a trial at almost any time, whose length varies evenly around `trial_s`, and claims the next one as
    soon as one has ended. The first trials of all begin within one heartbeat; that time is not measured. A reader
    looks on; it needs `log_long_run`.
    """
    latencies = Latencies()
    warm_up = Latencies()
    agents = [SimulatedAgent(address, sweep, warm_up) for _ in range(load.agents)]
    reader = Reader(address, sweep, load.read_lines)
    rng = random.Random(load.seed)
    for start in range(0, load.agents, 50):
        await asyncio.gather(*(agent.join() for agent in agents[start : start + 50]))
    begin_s = time.perf_counter() + load.heartbeat_every_s

    async def measure() -> None:
        await asyncio.sleep(begin_s - time.perf_counter())
        for agent in agents:
            agent.latencies = latencies
        await reader.read(latencies, begin_s + load.duration_s)

    lives = [
        _live(agent, load, random.Random(rng.random()), begin_s + load.duration_s, streams=index < load.streaming)
        for index, agent in enumerate(agents)
    ]
    await asyncio.gather(measure(), *lives)
    for client in (reader, *agents):
        client.close()
    return latencies


async def _live(agent: SimulatedAgent, load: Load, rng: random.Random, end_s: float, *, streams: bool) -> None:
    await asyncio.sleep(rng.uniform(0, load.heartbeat_every_s))
    # The first trial is as good as any moment of one, so that trials don't end all at once.
    length_s = rng.uniform(0.2, load.trial_s)
    while time.perf_counter() < end_s:
        await agent.claim()
        await agent.announce()
        await _work(agent, load, min(end_s, time.perf_counter() + length_s), streams=streams)
        if time.perf_counter() >= end_s:
            return  # what would be a rush of a thousand ends is no part of the load
        await agent.finish()
        length_s = rng.uniform(0.5, 1.5) * load.trial_s


async def _work(agent: SimulatedAgent, load: Load, end_s: float, *, streams: bool) -> None:
    now_s = time.perf_counter()
    next_heartbeat_s = now_s  # at once: the agent lists what it was given
    next_stream_s = now_s + load.stream_every_s if streams else float("inf")
    line = 0
    while (due_s := min(next_heartbeat_s, next_stream_s)) < end_s:
        await asyncio.sleep(due_s - time.perf_counter())
        if next_heartbeat_s <= next_stream_s:
            await agent.heartbeat()
            next_heartbeat_s += load.heartbeat_every_s
        else:
            await agent.stream(line, load.lines_per_post)
            line += load.lines_per_post
            next_stream_s += load.stream_every_s
    await asyncio.sleep(max(0.0, end_s - time.perf_counter()))
