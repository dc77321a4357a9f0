"""The SDK's own agents, `wandb agent` and `wandb.agent()`, working through sweeps of the server.

These agents ask for work every five seconds only, so all of them are set to work at once and each test
looks at one.
"""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.integration.server.client import STOP_RUN, Client
from tests.integration.server.conftest import new_project
from tests.integration.server.sdk import Sdk, User
from tests.waiting import wait_for
from wandb_sweep_server.launch import ServerAddress

TRAIN = """
import argparse, json, os, signal, sys, time
import wandb

parser = argparse.ArgumentParser()
parser.add_argument("--x", type=int)
parser.add_argument("--behave", default="")
args = parser.parse_args()
with open("trials.jsonl", "a+") as file:
    file.seek(0)
    is_first = not file.read()
    file.write(json.dumps(dict(x=args.x, run=os.environ.get("WANDB_RUN_ID"))) + "\\n")
run = wandb.init(id=os.environ.get("WANDB_RUN_ID"))
run.log(dict(loss=args.x / 2))
if is_first and args.behave == "preempt":
    run.mark_preempting()
    sys.exit(3)
if is_first and args.behave == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
if is_first and args.behave == "fail":
    sys.exit(4)
if args.behave == "hang":
    print("hanging", flush=True)
    parent = os.getppid()
    while os.getppid() == parent:  # not longer than the agent of a test that failed
        time.sleep(0.05)
"""
FUNCTION = """
import json, sys, wandb

def train():
    run = wandb.init()
    run.log({"loss": run.config.x / 2})
    with open("trials.jsonl", "a") as file:
        file.write(json.dumps(dict(x=run.config.x, run=run.id)) + "\\n")
    run.finish()

wandb.agent(sys.argv[1], function=train)
"""


@dataclass
class Job:
    """An agent at work, or a script without one. sweep: None for the script."""

    user: User
    client: Client
    sweep: str | None
    process: subprocess.Popen[str]

    @property
    def path(self) -> str:
        return f"local/{self.user.project}/{self.sweep}"

    def trials(self) -> list[dict[str, Any]]:
        """What the trials wrote down, in the order of their starts."""
        file = self.user.directory / "trials.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def runs(self) -> list[dict[str, Any]]:
        """What the server knows of them."""
        return self.client.runs(self.user.project)

    def state(self) -> str:
        """The state of the sweep."""
        assert self.sweep is not None
        return str(self.client.sweep_of(self.user.project, self.sweep)["state"])

    def wait(self) -> int:
        """The exit status of the agent, which ends by itself."""
        try:
            return self.process.wait(timeout=120)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it didn't end: {self.user.log()}") from None


def stop_alone(sdk: Sdk, job: Job) -> None:
    """Ask the run of the script that has no agent to stop, in the way the SDK has for it."""
    wait_for(lambda: "hanging" in job.user.log(), "the run is under way")
    (run,) = job.runs()
    if sdk.version >= (0, 31):
        job.user.python(f"import wandb; wandb.Api().run('local/{job.user.project}/{run['name']}').stop()")
    else:
        job.client.graphql(STOP_RUN, id=run["id"])


@pytest.fixture(scope="module")
def jobs(
    sdk: Sdk, server: ServerAddress, client: Client, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Job]]:
    """Agents at work, by name."""
    jobs: dict[str, Job] = {}

    def start(name: str, xs: list[int], *command: str, behave: str = "") -> None:
        user = User(sdk, server, tmp_path_factory.mktemp(name), new_project())
        (user.directory / "train.py").write_text(TRAIN)
        (user.directory / "function.py").write_text(FUNCTION)
        sweep = None
        if xs:
            parameters: dict[str, Any] = {"x": {"values": xs}}
            if behave:
                parameters["behave"] = {"value": behave}
            config = {"method": "grid", "program": "train.py", "parameters": parameters}
            sweep = client.sweep(user.project, config)
        path = f"local/{user.project}/{sweep}"
        jobs[name] = Job(user, client, sweep, user.start(*(part.replace("SWEEP", path) for part in command)))

    start("grid", [1, 2], "wandb", "agent", "SWEEP")
    start("count", [1, 2], "wandb", "agent", "--count", "1", "SWEEP")
    start("function", [1, 2], "python", "function.py", "SWEEP")
    start("preempt", [1, 2], "wandb", "agent", "SWEEP", behave="preempt")
    start("kill", [1], "wandb", "agent", "SWEEP", behave="kill")
    start("fail", [1], "wandb", "agent", "SWEEP", behave="fail")
    start("cancel", [1, 2], "wandb", "agent", "SWEEP", behave="hang")
    start("stop", [1, 2], "wandb", "agent", "SWEEP", behave="hang")
    start("delete", [1, 2], "wandb", "agent", "SWEEP", behave="hang")
    if sdk.version >= (0, 31):
        start("forward", [1, 2], "wandb", "agent", "--forward-signals", "SWEEP", behave="hang")
    start("alone", [], "python", "train.py", "--x", "1", "--behave", "hang")
    # It takes the SDK up to half a minute to see that: asked for here, looked at by the last test.
    stop_alone(sdk, jobs["alone"])
    yield jobs
    for job in jobs.values():
        job.user.end()


def test_canceling_a_sweep_stops_its_runs_and_ends_its_agents(jobs: dict[str, Job]) -> None:
    job = jobs["cancel"]
    wait_for(job.runs, "a trial starts")
    wait_for(lambda: job.runs()[0]["state"] == "running", "the trial runs")
    job.user.run("wandb", "sweep", "--cancel", job.path)
    assert job.wait() == 0
    (run,) = job.runs()
    assert run["state"] == "killed"
    assert job.state() == "CANCELED"


@pytest.fixture(scope="module")
def interrupted(jobs: dict[str, Job], client: Client) -> dict[str, str]:
    """The first runs of two agents; one was asked to stop, the other deleted. It takes agents a while to see that."""
    first = {}
    for name in ("stop", "delete"):
        job = jobs[name]
        wait_for(lambda job=job: job.trials() and job.runs()[0]["state"] == "running", "the first trial runs")
        first[name] = job.runs()[0]["name"]
    client.graphql(STOP_RUN, id=jobs["stop"].runs()[0]["id"])
    path = f"local/{jobs['delete'].user.project}/{first['delete']}"
    jobs["delete"].user.python(f"import wandb; wandb.Api().run({path!r}).delete()")
    return first


def test_stopping_a_run_of_an_agent_ends_it_and_the_agent_goes_on(
    jobs: dict[str, Job], interrupted: dict[str, str]
) -> None:
    job = jobs["stop"]
    wait_for(lambda: len(job.trials()) == 2, "the second trial starts")
    assert [trial["x"] for trial in job.trials()] == [1, 2]
    first = job.runs()[0]
    assert first["name"] == interrupted["stop"]
    # wandb-core 0.19 outlives the process that it reports on, and may announce its run again (seen a second later).
    assert first["state"] in ({"killed"} if job.user.sdk.version >= (0, 22) else {"killed", "running"})


def test_deleting_a_run_of_an_agent_ends_it_and_the_agent_goes_on(
    jobs: dict[str, Job], interrupted: dict[str, str]
) -> None:
    job = jobs["delete"]
    wait_for(lambda: len(job.trials()) == 2, "the second trial starts")
    assert [trial["x"] for trial in job.trials()] == [1, 2]
    assert interrupted["delete"] not in [run["name"] for run in job.runs()]


def test_an_agent_hands_on_the_signal_that_ends_it(sdk: Sdk, jobs: dict[str, Job]) -> None:
    if sdk.version < (0, 31):
        pytest.skip("wandb agent --forward-signals came with wandb 0.31")
    job = jobs["forward"]
    wait_for(lambda: job.trials() and job.runs()[0]["state"] == "running", "the first trial runs")
    job.process.send_signal(signal.SIGINT)
    job.wait()
    # The trial was interrupted, not killed: it could still say so.
    assert [(run["state"], run["exitcode"]) for run in job.runs()] == [("failed", 255)]


def test_an_agent_works_through_a_grid_and_the_sweep_is_finished(jobs: dict[str, Job]) -> None:
    job = jobs["grid"]
    assert job.wait() == 0
    assert [trial["x"] for trial in job.trials()] == [1, 2]
    assert [(run["config"], run["state"], run["summary"]["loss"]) for run in job.runs()] == [
        ({"x": 1}, "finished", 0.5),
        ({"x": 2}, "finished", 1.0),
    ]
    assert [trial["run"] for trial in job.trials()] == [run["name"] for run in job.runs()]
    assert {run["sweepName"] for run in job.runs()} == {job.sweep}
    assert job.state() == "FINISHED"


def test_an_agent_with_a_count_takes_no_more_trials(jobs: dict[str, Job]) -> None:
    job = jobs["count"]
    assert job.wait() == 0
    assert [trial["x"] for trial in job.trials()] == [1]
    assert [run["state"] for run in job.runs()] == ["finished"]
    assert job.state() == "RUNNING"


def test_an_agent_in_a_process_works_through_a_grid_and_the_sweep_is_finished(jobs: dict[str, Job]) -> None:
    job = jobs["function"]
    assert job.wait() == 0
    assert [trial["x"] for trial in job.trials()] == [1, 2]
    assert [(run["state"], run["summary"]["loss"]) for run in job.runs()] == [("finished", 0.5), ("finished", 1.0)]
    assert job.state() == "FINISHED"


def test_a_preempted_run_is_offered_again_under_its_id_before_new_trials(jobs: dict[str, Job]) -> None:
    job = jobs["preempt"]
    assert job.wait() == 0
    first, again, other = job.trials()
    assert first == again
    assert (first["x"], other["x"]) == (1, 2)
    assert [(run["state"], run["exitcode"]) for run in job.runs()] == [("finished", 0)] * 2
    assert job.state() == "FINISHED"


def test_a_killed_trial_is_found_out_and_offered_again_under_its_id(jobs: dict[str, Job]) -> None:
    job = jobs["kill"]
    assert job.wait() == 0
    first, *again = job.trials()
    # Under the CLI agent of 0.19 an uploader outlives the trial, and says that it ended with exit code 0; whether it
    # does so before the agent tells of the loss is a matter of luck.
    assert again == [first] or (job.user.sdk.version < (0, 20) and not again)
    assert [(run["name"], run["state"]) for run in job.runs()] == [(first["run"], "finished")]
    assert job.state() == "FINISHED"


def test_a_failed_trial_is_not_offered_again(jobs: dict[str, Job]) -> None:
    job = jobs["fail"]
    job.wait()
    assert len(job.trials()) == 1
    assert [(run["state"], run["exitcode"]) for run in job.runs()] == [("failed", 4)]
    assert job.state() == "FINISHED"


def test_a_run_can_be_stopped_without_an_agent(jobs: dict[str, Job]) -> None:
    job = jobs["alone"]
    assert job.wait() != 0
    (run,) = job.runs()
    assert (run["state"], run["exitcode"]) == ("killed", 255)
