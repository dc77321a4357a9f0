"""Early stopping as a run of the real SDK meets it."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.integration.server.client import Client
from tests.integration.server.sdk import Sdk, User
from wandb_sweep_server.launch import ServerAddress

# Not longer than a test that fails waits.
TRAIN = """
import time
run = wandb.init()
stopped = False
try:
    for _ in range(1000):
        run.log({"loss": 2})
        time.sleep(0.1)
except KeyboardInterrupt:
    stopped = True
run.finish(exit_code=255 if stopped else 0)
result(stopped)
"""


def test_a_run_that_is_too_bad_is_interrupted_by_its_sdk(
    server: ServerAddress, client: Client, project: str, tmp_path: Path
) -> None:
    early_terminate = {"type": "hyperband", "max_iter": 3, "s": 1}
    sweep = client.sweep(
        project,
        {
            "method": "grid", "parameters": {"a": {"values": [1, 2]}},
            "metric": {"name": "loss"}, "early_terminate": early_terminate,
        },
    )  # fmt: skip
    client.start(project, "good", sweep)
    client.log(project, "good", [{"loss": 1}])
    # The newest SDK reads its stop from what its stream is answered; it takes the shortest.
    user = User(Sdk((0, 31), Path(sys.executable)), server, tmp_path / "user", project)
    try:
        assert user.result(TRAIN, WANDB_SWEEP_ID=sweep, WANDB_RUN_ID="bad") is True
    finally:
        user.end()
    assert client.run(project, "bad")["state"] == "killed"
    run = client.graphql(
        'query R($p: String!) { project(name: $p) { run(name: "bad") { stopped stopReason } } }', p=project
    )["project"]["run"]
    assert run == {"stopped": True, "stopReason": "stopped early: bracket 1, loss 2 > 1"}
    (command,) = client.heartbeat(client.agent(project, sweep))
    assert command["type"] == "run"
