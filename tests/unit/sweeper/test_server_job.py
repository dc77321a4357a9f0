"""A server in a job of its own: what is asked for, how it is waited for, and what comes after it."""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from hydra_plugins.hydra_wandb_sweeper._errors import ServerUnreachableError
from hydra_plugins.hydra_wandb_sweeper._server_job import Following, ServerTask, next_server, wait_for_server
from hydra_plugins.hydra_wandb_sweeper._slurm import SlurmCallError, as_outside_of_jobs, queue_state
from hydra_plugins.hydra_wandb_sweeper._submitit import SmallJob, small_job_parameters
from wandb_sweep_server.launch import ServerAddress

ADDRESS = ServerAddress("http://n1:1234", "local-secret", Path("/p"), 1, "0.0.0.0", "x")


class Cluster:
    """A job that is in one state after another, the last one for ever; each second has its state."""

    def __init__(self, *states: str | None, answers_at: float = float("inf")) -> None:
        self.states = states
        self.answers_at = answers_at
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def state(self, _: str) -> str | None:
        return self.states[min(int(self.now), len(self.states) - 1)]

    def wait(self, state: Callable[[str], str | None] | None = None) -> ServerAddress:
        return wait_for_server(
            "123",
            lambda: ADDRESS if self.now >= self.answers_at else None,
            lambda: "LAST LINES",
            state_of=state or self.state,
            final_state=lambda _: "NODE_FAIL",
            sleep=self.sleep,
            clock=lambda: self.now,
        )


def test_what_a_server_s_job_waits_for_is_said_when_it_changes(caplog: pytest.LogCaptureFixture) -> None:
    waiting = ["PENDING: Priority"] * 20 + ["PENDING: Resources"] * 20 + ["RUNNING"]
    with caplog.at_level(logging.INFO):
        assert Cluster(*waiting, answers_at=43).wait() == ADDRESS
    assert caplog.messages == [
        f"Waiting for the server's job 123 ({state})."
        for state in ("PENDING: Priority", "PENDING: Resources", "RUNNING")
    ]


def test_a_server_s_job_may_wait_in_the_queue_for_days() -> None:
    assert Cluster("PENDING: Resources", answers_at=200_000).wait() == ADDRESS


def test_a_server_s_job_that_ends_without_serving_is_told_with_state_and_log() -> None:
    with pytest.raises(ServerUnreachableError, match=r"job 123 ended without serving \(NODE_FAIL\).*LAST LINES"):
        Cluster("RUNNING", "RUNNING", None).wait()


def test_a_server_that_runs_but_can_not_be_reached_is_not_waited_for_for_ever() -> None:
    cluster = Cluster("PENDING: Resources", "PENDING: Resources", "RUNNING")
    with pytest.raises(
        ServerUnreachableError, match=r"^The server's job 123 runs, but.*can connect to compute nodes.*LAST LINES"
    ):
        cluster.wait()
    assert 180 < cluster.now < 200


def test_a_queue_that_can_not_be_asked_is_no_reason_to_give_up(caplog: pytest.LogCaptureFixture) -> None:
    def no_answer(_: str) -> str | None:
        raise SlurmCallError("squeue: timed out")

    assert Cluster(answers_at=300).wait(no_answer) == ADDRESS
    assert "The state of the server's job can't be asked for: squeue: timed out" in caplog.messages


@pytest.mark.parametrize(
    ("told", "preempted", "is_due", "node"),
    [("SIGUSR2", False, True, "n1"), ("SIGTERM", True, True, None), ("SIGTERM", False, False, None)],
)
def test_a_successor_follows_on_the_same_node_unless_the_node_is_given_away(
    told: str, preempted: bool, is_due: bool, node: str | None
) -> None:
    following = next_server(told, warning="SIGUSR2", preempted=preempted, node="n1")
    assert following == Following(is_due, node, following.reason)


def test_a_small_job_asks_for_one_cpu_on_the_agents_partition_and_nothing_else() -> None:
    launcher = {
        "submitit_folder": "multirun/.submitit/%j", "timeout_min": 60, "nodes": 2, "tasks_per_node": 4,
        "cpus_per_task": 8, "gpus_per_node": 4, "gres": "gpu:4", "partition": "gpu", "account": "a",
        "qos": "q", "mem_gb": 200,
        "additional_parameters": {"gpus-per-task": 1, "exclusive": True, "reservation": "r"},
    }  # fmt: skip
    assert small_job_parameters(launcher, {"mem_gb": 2}) == {
        "submitit_folder": str(Path("multirun/.submitit/%j").absolute()), "timeout_min": 60, "nodes": 1,
        "tasks_per_node": 1, "cpus_per_task": 1, "partition": "gpu", "account": "a", "qos": "q", "mem_gb": 2,
        "additional_parameters": {"reservation": "r"},
    }  # fmt: skip


def test_what_travels_to_the_server_s_job_is_plain_data(tmp_path: Path) -> None:
    (tmp_path / "api_key").write_text(ADDRESS.api_key)
    task = ServerTask(tmp_path, SmallJob({"submitit_folder": "x", "additional_parameters": {}}))
    assert ADDRESS.api_key.encode() not in pickle.dumps(task)
    assert pickle.loads(pickle.dumps(task)) == task


@pytest.mark.parametrize(
    ("listed", "state"),
    [("PENDING|Resources\n", "PENDING: Resources"), ("RUNNING|None\n", "RUNNING"), ("", None)],
)
def test_a_job_s_state_has_the_reason_why_it_waits(listed: str, state: str | None) -> None:
    assert queue_state("1", lambda _: listed) == state


def test_a_job_that_slurm_has_forgotten_has_ended() -> None:
    def forgotten(_: object) -> str:
        raise SlurmCallError("squeue says: slurm_load_jobs error: Invalid job id specified")

    assert queue_state("1", forgotten) is None


def test_a_job_submitted_from_within_a_job_inherits_only_how_to_reach_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = {"SLURM_JOB_ID": "1", "SLURM_CPUS_PER_TASK": "8", "SBATCH_GRES": "gpu:1", "SLURM_CONF": "/etc/s"}
    for name, value in mine.items():
        monkeypatch.setenv(name, value)
    with as_outside_of_jobs():
        assert {name: os.environ.get(name) for name in mine} == dict.fromkeys(mine) | {"SLURM_CONF": "/etc/s"}
    assert {name: os.environ.get(name) for name in mine} == mine
