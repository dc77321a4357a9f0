"""W&B's own scheduler, `wandb sweep-scheduler` (from 0.31 on): it searches, the server hands out what it chose."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.server.client import Client
from tests.integration.server.conftest import new_project
from tests.integration.server.sdk import Sdk, User
from tests.waiting import wait_for
from wandb_sweep_server.launch import ServerAddress

SWEEPS: dict[str, dict[str, Any]] = {
    "wandb": {"method": "grid", "parameters": {"x": {"values": [1, 2, 3]}}},
    # This engine searches on and on: it is the server that counts.
    "optuna": {"method": "bayes", "parameters": {"x": {"min": 0.0, "max": 1.0}}, "run_cap": 2},
}


@dataclass
class Scheduled:
    """A sweep with its scheduler."""

    user: User
    sweep: str
    process: subprocess.Popen[str]

    def status(self) -> int:
        """The scheduler's exit status; it ends by itself."""
        return self.process.wait(timeout=120)


@pytest.fixture(scope="module")
def scheduled(
    server: ServerAddress, client: Client, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Scheduled]]:
    """The engines at work side by side, since a scheduler looks at its sweep every five seconds only."""
    running = {}
    for engine, config in SWEEPS.items():
        user = User(Sdk((0, 31), Path(sys.executable)), server, tmp_path_factory.mktemp(engine), new_project())
        common = {"metric": {"name": "loss", "goal": "minimize"}, "program": "train.py"}
        sweep = client.sweep(user.project, {**common, **config, "scheduler": {"engine": engine}})
        options = ("--batch-size", "3", "--poll-interval", "5")
        process = user.start(
            "wandb", "sweep-scheduler", *options, f"local/{user.project}/{sweep}", WANDB_SILENT="false"
        )
        running[engine] = Scheduled(user, sweep, process)
    yield running
    for one in running.values():
        one.user.end()


def work(client: Client, project: str, sweep: str) -> list[dict[str, Any]]:
    """Be the agent of a sweep until it is told to exit; returns the values of its trials."""
    agent = client.agent(project, sweep)
    seen: list[dict[str, Any]] = []
    while True:
        (command,) = wait_for(lambda: client.heartbeat(agent), "the scheduler wants something")
        if command["type"] == "exit":
            return seen
        values = {name: item["value"] for name, item in command["args"].items()}
        seen.append(values)
        client.start(project, command["run_id"], sweep, values)
        client.log(project, command["run_id"], [{"_step": 0, "loss": values["x"]}])
        client.finish(project, command["run_id"], summary={"loss": values["x"]})


def test_wandbs_engine_is_done_when_its_grid_is(scheduled: dict[str, Scheduled], client: Client) -> None:
    pytest.importorskip("sweeps", reason="the engine wandb needs the package sweeps")
    one = scheduled["wandb"]
    assert sorted(values["x"] for values in work(client, one.user.project, one.sweep)) == [1, 2, 3]
    assert client.sweep_of(one.user.project, one.sweep)["state"] == "FINISHED"
    assert one.status() == 0, one.user.log()
    # The fourth run is the scheduler's own, with its log.
    assert [(run["state"], run["sweepName"]) for run in client.runs(one.user.project)][1:] == [
        ("finished", one.sweep)
    ] * 3


def test_a_cap_on_runs_holds_whatever_the_scheduler_wants(scheduled: dict[str, Scheduled], client: Client) -> None:
    pytest.importorskip("optuna", reason="the engine optuna needs the package optuna")
    one = scheduled["optuna"]
    trials = work(client, one.user.project, one.sweep)
    assert len(trials) == 2
    assert all(0 <= values["x"] <= 1 for values in trials)
    assert client.sweep_of(one.user.project, one.sweep)["state"] == "FINISHED"
    assert one.status() == 1
    assert "its run_cap = 2 allows no more" in one.user.log()


def test_a_sweep_of_a_scheduler_has_no_trials_of_the_server(client: Client, project: str) -> None:
    sweep = client.sweep(project, {**SWEEPS["wandb"], "scheduler": {"engine": "wandb"}})
    assert client.heartbeat(client.agent(project, sweep)) == []
    assert client.sweep_of(project, sweep)["runCountExpected"] is None
