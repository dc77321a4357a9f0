"""Bayesian sweeps on a real server: agents side by side, W&B's own agent, and an environment without the extra."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.integration.server.client import Client
from tests.integration.server.sdk import Sdk, User
from tests.packages import WITHOUT_EXTRA
from tests.waiting import wait_for
from wandb_sweep_server.launch import ServerAddress, ensure_running, read_address

PLANE = {"x": {"min": 0.0, "max": 1.0}, "y": {"min": 0.0, "max": 1.0}}
BAYES = {"method": "bayes", "metric": {"name": "val.loss", "goal": "minimize"}, "parameters": PLANE}


def loss(values: dict[str, Any]) -> float:
    return float((values["x"] - 0.3) ** 2 + (values["y"] - 0.7) ** 2)


def work(address: ServerAddress, project: str, sweep: str) -> list[tuple[str, dict[str, Any]]]:
    """One agent to the end of a sweep: the run ids and values of its trials."""
    client = Client(address)
    agent, seen = client.agent(project, sweep), []
    while True:
        for command in client.heartbeat(agent):
            if command["type"] == "exit":
                return seen
            values = {name: item["value"] for name, item in command["args"].items()}
            seen.append((command["run_id"], values))
            client.finish(project, command["run_id"], summary={"val": {"loss": loss(values)}})


def test_eight_agents_find_the_bottom_of_a_bowl_and_no_two_of_them_the_same_trial(
    server: ServerAddress, client: Client, project: str
) -> None:
    sweep = client.sweep(project, {**BAYES, "run_cap": 40})
    with ThreadPoolExecutor(8) as pool:
        found = [trial for trials in pool.map(lambda _: work(server, project, sweep), range(8)) for trial in trials]
    assert len(found) == len({run for run, _ in found}) == len({json.dumps(values) for _, values in found}) == 40
    assert min(loss(values) for _, values in found) < 1e-3
    assert client.sweep_of(project, sweep)["state"] == "FINISHED"


def test_a_server_that_was_killed_goes_on_with_the_trial_it_would_have_chosen(tmp_path: Path) -> None:
    """The same sweep twice, with the same seed: once with a kill before the first trial that the model chooses."""
    assert sweep_alone(tmp_path / "killed", kill_before=8) == sweep_alone(tmp_path / "spared", kill_before=None)


def sweep_alone(directory: Path, kill_before: int | None) -> list[dict[str, Any]]:
    """Ten trials of one agent on a server of its own, in their order."""
    address, values = ensure_running(directory, idle_timeout_s=600), []
    sweep = Client(address).sweep("p", {**BAYES, "command": ["--seed=7"]})
    try:
        for number in range(10):
            if number == kill_before:
                os.kill(address.pid, signal.SIGKILL)
                wait_for(lambda pid=address.pid: not _is_alive(pid), "the server is dead")
                address = ensure_running(directory, idle_timeout_s=600)
            client = Client(address)
            agent = client.agent("p", sweep)
            # Where the server needs long for its imports, it says to come again.
            (command,) = wait_for(lambda client=client, agent=agent: client.heartbeat(agent), "a trial is chosen")
            values.append({name: item["value"] for name, item in command["args"].items()})
            client.finish("p", command["run_id"], summary={"val": {"loss": loss(values[-1])}})
    finally:
        os.kill(address.pid, signal.SIGTERM)
    return values


def _is_alive(pid: int) -> bool:
    # A zombie of ours would be alive to os.kill(pid, 0).
    try:
        return os.waitpid(pid, os.WNOHANG) == (0, 0)
    except ChildProcessError:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        return True


TRAIN = """
import sys, wandb

def train():
    with wandb.init() as run:
        run.log({"val": {"loss": (run.config.x - 0.3) ** 2}})

wandb.agent(sys.argv[1], function=train)
"""


def test_wandbs_own_agent_works_through_a_bayesian_sweep_made_by_the_sdk(
    server: ServerAddress, client: Client, project: str, tmp_path: Path
) -> None:
    # To agents of other versions this sweep is like any other, and each trial takes them 5 s.
    user = User(Sdk((0, 31), Path(sys.executable)), server, tmp_path / "user", project)
    config = {**BAYES, "run_cap": 2, "parameters": {"x": PLANE["x"]}}
    sweep = user.result(f"result(wandb.sweep({config!r}))")
    user.python(f"import sys; sys.argv[1:] = ['local/{user.project}/{sweep}']\n{TRAIN}")
    runs = client.runs(user.project)
    assert [run["state"] for run in runs] == ["finished", "finished"]
    assert len({run["config"]["x"] for run in runs}) == 2
    assert client.sweep_of(user.project, sweep)["state"] == "FINISHED"


def test_a_server_without_the_extra_serves_all_other_sweeps_and_says_what_to_install(tmp_path: Path) -> None:
    directory = tmp_path / "server"
    (tmp_path / "sitecustomize.py").write_text(WITHOUT_EXTRA)
    process = subprocess.Popen(
        [sys.executable, "-m", "wandb_sweep_server", "--dir", str(directory)],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    try:
        wait_for(lambda: read_address(directory) is not None, "the server is up")
        address = read_address(directory)
        assert address is not None
        client = Client(address)
        with pytest.raises(AssertionError) as refused:
            client.sweep("p", BAYES)
        assert "needs optuna and sklearn" in str(refused.value)
        assert "pip install 'hydra-wandb-sweeper[optuna]'" in str(refused.value)
        sweep = client.sweep("p", {"method": "random", "parameters": {"b": {"distribution": "beta"}}})
        assert client.heartbeat(client.agent("p", sweep))[0]["type"] == "run"
    finally:
        process.terminate()
        process.wait()
