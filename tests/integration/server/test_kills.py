"""The server, killed hundreds of times at random points under work: what it answered is so, and stays so."""

from __future__ import annotations

import itertools
import json
import os
import random
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
import requests

from tests.integration.server import client as operations
from tests.integration.server.client import Client
from tests.integration.server.mortal import Mortals, Point
from wandb_sweep_server.launch import ServerAddress, read_address

T = TypeVar("T")

KILLS = 250
CHECK_EVERY = 3
AGENTS = 4
# Trials whose hand-out was stored but not answered come back soon; nobody is silent here for long.
OPTIONS = ("--start-timeout-s", "0.05", "--max-retries", "1000")
LEVELS = {"x": list(range(6)), "y": list("abcde")}
GRID = {"method": "grid", "parameters": {name: {"values": values} for name, values in LEVELS.items()}}
POINTS = [dict(zip(LEVELS, point, strict=True)) for point in itertools.product(*LEVELS.values())]

ENQUEUE = """
mutation EnqueueSweepRun($id: ID!, $config: JSONString!) {
  enqueueSweepRun(input: {id: $id, config: $config}) { id }
}"""
HISTORY = """
query History($run: String!) { project(name: "p") { run(name: $run) { history(minStep: 0, maxStep: 10000) } } }"""


@dataclass(eq=False)
class Known:
    """What the server has acknowledged of a run."""

    args: dict[str, Any]
    hand_outs: int = 0
    give_ups: int = 0
    is_finished: bool = False
    lines: list[str] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    summary: dict[str, Any] | None = None


@dataclass(eq=False)
class Sweep:
    """A sweep and what the server has acknowledged of it."""

    name: str
    node_id: str
    runs: dict[str, Known] = field(default_factory=dict)
    enqueued: set[str] = field(default_factory=set)
    is_paused: bool = False


class Connection:
    """A client that comes back by itself, wherever the directory's server is now."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._connect()

    def _connect(self) -> None:
        address = read_address(self._directory)
        assert address
        self.client = Client(address)

    def retry(self, work: Callable[[Client], T]) -> T:
        """The answer to a request, repeated until there is one."""
        deadline = time.monotonic() + 60
        while True:
            try:
                return work(self.client)
            except requests.RequestException:
                assert time.monotonic() < deadline
                time.sleep(0.01)
                address = read_address(self._directory)
                if address and address.url != self.client.url:
                    self._connect()


class Board:
    """The sweep in work; a new one when it is done, until `close`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self.sweeps: list[Sweep] = []
        self.is_closing = False

    def after(self, last: Sweep | None) -> Sweep | None:
        """The sweep to work on after the last one; None: nothing any more."""
        with self._lock:
            current = self.sweeps[-1] if self.sweeps else None
            if current is not last:
                return current
            if self.is_closing:
                return None
            self.sweeps.append(new_sweep(Connection(self._directory)))
            return self.sweeps[-1]


def new_sweep(connection: Connection) -> Sweep:
    config = json.dumps(GRID)
    data = connection.retry(lambda client: client.graphql(operations.UPSERT_SWEEP, config=config, projectName="p"))
    sweep = data["upsertSweep"]["sweep"]
    return Sweep(sweep["name"], sweep["id"])


class Worker(threading.Thread):
    """A thread whose failure is kept for the test."""

    def __init__(self, directory: Path, board: Board, seed: int) -> None:
        super().__init__(daemon=True)
        self.connection = Connection(directory)
        self.retry = self.connection.retry
        self.board = board
        self.chance = random.Random(seed)
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            self.work()
        except Exception as error:  # noqa: BLE001
            self.failure = error

    def work(self) -> None:
        raise NotImplementedError


class Agent(Worker):
    """Claims trials and plays their processes; some are preempted, some die."""

    def work(self) -> None:
        sweep = self.board.after(None)
        while sweep:
            self.work_on(sweep)
            sweep = self.board.after(sweep)

    def work_on(self, sweep: Sweep) -> None:
        agent = self.joined(sweep)
        while agent:
            commands = self.retry(lambda client: client.heartbeat(agent))
            if not commands:
                time.sleep(0.02)
            for command in commands:
                if command["type"] == "exit":
                    return
                self.play(sweep, agent, command)

    def joined(self, sweep: Sweep) -> str | None:
        def join(client: Client) -> str | None:
            variables = {"host": "h", "projectName": "p", "sweep": sweep.name}
            answer = client.post_graphql(operations.CREATE_AGENT, variables)
            if answer.status_code == 400:
                assert "is not running" in answer.text
                return None
            return str(answer.json()["data"]["createAgent"]["agent"]["id"])

        return self.retry(join)

    def play(self, sweep: Sweep, agent: str, command: dict[str, Any]) -> None:
        args = {name: item["value"] for name, item in command["args"].items()}
        name = command["run_id"]
        run = sweep.runs.setdefault(name, Known(args))
        assert run.args == args, "a run was handed out with other values than before"
        run.hand_outs += 1
        assert run.hand_outs <= 1 + run.give_ups, f"{name} was handed out to two agents"
        self.retry(lambda client: client.start("p", name, sweep.name, {"more": 1}))
        self.log(name, run)
        self.upload(name, run)
        self.retry(lambda client: client.heartbeat(agent, [name]))
        fate = self.chance.random() if run.give_ups == 0 else 1.0
        if fate < 0.2:
            run.give_ups += 1
            self.ok(lambda client: client.stream("p", name, preempting=True))
            # Another agent may have the run before this one hears of it.
            files = {"wandb-summary.json": {"content": [json.dumps({"by": self.chance.random()})]}}
            self.ok(lambda client: client.stream("p", name, files=files, complete=True, exitcode=1))
        elif fate < 0.3:
            run.give_ups += 1  # the agent won't list it in its next heartbeat
        else:
            self.finish(name, run)

    def ok(self, work: Callable[[Client], requests.Response]) -> None:
        response = self.retry(work)
        assert response.status_code == 200, response.text

    def log(self, name: str, run: Known) -> None:
        for _ in range(self.chance.randrange(3)):
            new = [json.dumps({"_step": len(run.lines) + i, "v": self.chance.random()}) for i in range(2)]
            files = {"wandb-history.jsonl": {"offset": len(run.lines), "content": new}}
            self.ok(lambda client, files=files: client.stream("p", name, files=files))
            run.lines += new

    def upload(self, name: str, run: Known) -> None:
        if self.chance.random() < 0.5:
            return
        file = f"media/{len(run.files)}-{run.hand_outs}.bin"
        content = self.chance.randbytes(self.chance.choice([0, 10, 100_000]))

        def put(client: Client) -> requests.Response:
            made = client.graphql(operations.CREATE_FILES, project="p", run=name, files=[file])["createRunFiles"]
            return requests.put(made["files"][0]["uploadUrl"], data=content, timeout=60)

        self.ok(put)
        run.files[file] = content

    def finish(self, name: str, run: Known) -> None:
        summary = {"v": self.chance.random(), "steps": len(run.lines)}
        self.retry(lambda client: client.finish("p", name, summary=summary))
        run.summary = summary
        run.is_finished = True


class User(Worker):
    """Pauses, resumes and fills a sweep that no agent works on."""

    def work(self) -> None:
        self.sweep = new_sweep(self.connection)
        while not self.board.is_closing:
            if self.chance.random() < 0.5:
                config = json.dumps({"x": {"value": len(self.sweep.enqueued)}, "y": {"value": "a"}})
                variables = {"id": self.sweep.node_id, "config": config}
                data = self.retry(lambda client, v=variables: client.graphql(ENQUEUE, **v))
                self.sweep.enqueued.add(data["enqueueSweepRun"]["id"])
            else:
                state = "RUNNING" if self.sweep.is_paused else "PAUSED"
                variables = {"id": self.sweep.node_id, "state": state}
                self.retry(lambda client, v=variables: client.graphql(operations.UPSERT_SWEEP, **v))
                self.sweep.is_paused = not self.sweep.is_paused
            time.sleep(0.01)


def check(client: Client, sweep: Sweep, some: int | None, chance: random.Random) -> None:
    """Everything acknowledged of a sweep is so; lines and files of `some` runs, None: of all."""
    known = {
        name: (run, len(run.lines), dict(run.files), run.summary if run.is_finished else None)
        for name, run in list(sweep.runs.items())
    }
    enqueued = set(sweep.enqueued)
    found = {run["name"]: run for run in client.runs("p", {"sweep": sweep.name})}
    assert set(known) | enqueued <= set(found)
    for name, (run, line_count, _, summary) in known.items():
        assert {key: found[name]["config"][key] for key in LEVELS} == run.args
        assert found[name]["historyLineCount"] >= line_count
        if summary is not None:
            assert (found[name]["state"], found[name]["summary"]) == ("finished", summary)
    for name in list(known) if some is None else chance.sample(list(known), min(some, len(known))):
        run, line_count, files, _ = known[name]
        history = client.graphql(HISTORY, run=name)["project"]["run"]["history"]
        assert history[:line_count] == run.lines[:line_count]
        for file, content in files.items():
            assert client.request("GET", f"/files/local/p/{name}/{file}").content == content


@pytest.fixture
def mortals(tmp_path: Path) -> Iterator[Mortals]:
    mortals = Mortals(tmp_path / "data", tmp_path / "log")
    yield mortals
    mortals.close()


@dataclass(frozen=True)
class Life:
    """A server's: it dies at its point, or pause_s after it was looked at."""

    point: Point | None
    options: tuple[str, ...]
    pause_s: float


def a_life(chance: random.Random) -> Life:
    kind = chance.choice(["rename", "statement", "commit", "commit", None])
    most = {"rename": 8, "statement": 150, "commit": 30}
    delay_s = chance.choice([0.0, chance.uniform(0.0, 0.004)])
    point = Point(kind, chance.randint(1, most[kind]), delay_s) if kind else None
    # The options of the first server hold for all; now and then the port is another one.
    options = ("--port", str(chance.randint(20_000, 30_000))) if chance.random() < 0.05 else ()
    return Life(point, options, chance.uniform(0.0, 0.1))


def test_whatever_a_server_killed_hundreds_of_times_has_answered_is_so(mortals: Mortals) -> None:
    seed = int(os.environ.get("KILLS_SEED") or secrets.randbits(32))
    print(f"KILLS_SEED={seed} chooses the same points again; how requests interleave is up to the machine")
    chance = random.Random(seed)
    lives = [a_life(chance) for _ in range(KILLS)]
    assert mortals.start(None, *OPTIONS)
    board = Board(mortals.directory)
    user = User(mortals.directory, board, seed + AGENTS)
    workers = [*(Agent(mortals.directory, board, seed + i) for i in range(AGENTS)), user]
    for worker in workers:
        worker.start()
    checks = points = 0
    for number, life in enumerate(lives):
        mortals.kill()
        assert [worker.failure for worker in workers if worker.failure] == []
        address = mortals.start(life.point, *life.options)
        if address and number % CHECK_EVERY == 0:
            checks += was_checked(address, board, chance)
        if mortals.is_alive():
            time.sleep(life.pause_s)
        points += not mortals.is_alive()
    board.is_closing = True
    mortals.kill()
    address = mortals.start(None)
    assert address
    for worker in workers:
        worker.join(timeout=120)
        assert worker.failure is None
        assert not worker.is_alive()
    print(f"{points} servers reached their point, {checks} were looked at")
    assert points > KILLS / 10
    assert checks > KILLS / CHECK_EVERY / 10
    check_the_end(Client(address), board, user.sweep, chance)


def was_checked(address: ServerAddress, board: Board, chance: random.Random) -> bool:
    try:
        for sweep in board.sweeps[-1:]:
            check(Client(address), sweep, 2, chance)
    except requests.RequestException:
        return False  # its point came
    return True


def check_the_end(client: Client, board: Board, of_user: Sweep, chance: random.Random) -> None:
    for sweep in board.sweeps:
        check(client, sweep, None, chance)
        runs = client.runs("p", {"sweep": sweep.name})
        assert sorted(run["name"] for run in runs) == sorted(sweep.runs), "a trial was handed out and never answered"
        handed_out = [{key: run["config"][key] for key in LEVELS} for run in runs]
        assert sorted(map(repr, handed_out)) == sorted(map(repr, POINTS)), "not every trial exactly once"
        assert {run["state"] for run in runs} == {"finished"}
        assert client.sweep_of("p", sweep.name)["state"] == "FINISHED"
    check(client, of_user, None, chance)
    assert client.sweep_of("p", of_user.name)["state"] in (
        ["PAUSED"] if of_user.is_paused else ["RUNNING", "PENDING"]
    )
    print(f"{len(board.sweeps)} sweeps, {sum(len(s.runs) for s in board.sweeps)} trials")
