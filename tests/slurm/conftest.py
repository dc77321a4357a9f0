"""Sweeps on a real SLURM cluster (brought up by `make test`), with the embedded server and the real SDK."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.sweeper.conftest import Project
from tests.slurm.cluster import Cluster
from tests.waiting import wait_for

# By then a requeued job's first life is over for SLURM.
_SETTLED_S = 5.0

APP = """
import json, os, time
from pathlib import Path
import hydra
import wandb
from hydra.core.hydra_config import HydraConfig


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg):
    checkpoint = Path(HydraConfig.get().runtime.output_dir) / "step"
    unfinished = checkpoint.with_suffix(".tmp")
    begin = int(checkpoint.read_text()) if checkpoint.exists() else 0
    run = wandb.init()
    env = os.environ
    task = "_" + env["SLURM_ARRAY_TASK_ID"] if "SLURM_ARRAY_TASK_ID" in env else ""
    mark = {"x": cfg.x, "begin": begin, "run": run.id, "resumed": run.resumed, "num": HydraConfig.get().job.num,
            "node": env.get("SLURMD_NODENAME"), "job": env.get("SLURM_ARRAY_JOB_ID", env.get("SLURM_JOB_ID")) + task,
            "word": cfg.word, "pid": os.getpid(), "gpus": env.get("CUDA_VISIBLE_DEVICES"),
            "cpus": sorted(os.sched_getaffinity(0))}
    with open("marks.jsonl", "a") as file:
        file.write(json.dumps(mark) + "\\n")
    if cfg.bad_node == env.get("SLURMD_NODENAME"):
        raise RuntimeError(f"node {cfg.bad_node} is broken")
    if cfg.x == cfg.hungry and not run.resumed:
        taken = bytearray(3 * 2**29)
        taken[::4096] = b"x" * (len(taken) // 4096)
        time.sleep(600)
    try:
        for step in range(begin, cfg.steps):
            time.sleep(cfg.step_s)
            # Replaced at once: whoever is interrupted in between goes on from the step before.
            unfinished.write_text(str(step + 1))
            unfinished.replace(checkpoint)
            run.log({"step": step})
    except BaseException as error:
        end = int(checkpoint.read_text()) if checkpoint.exists() else 0
        with open("interrupted.jsonl", "a") as file:
            file.write(json.dumps({**mark, "end": end, "by": repr(error)}) + "\\n")
        raise
    return float(cfg.x)


if __name__ == "__main__":
    main()
"""
CONFIG = """
x: 0
steps: 0
step_s: 0.5
bad_node: null
hungry: null
word: as submitted
"""


@dataclass
class SlurmProject(Project):
    """A user's project on a cluster."""

    cluster: Cluster = None  # type: ignore[assignment]
    requeued: dict[str, float] = field(default_factory=dict)

    def slurm(self, *command: str) -> str:
        """Run a SLURM command; returns what it prints."""
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def marks(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """What each attempt at a trial noted when it began, in order."""
        return _lines(self.directory / "marks.jsonl")

    def interruptions(self) -> list[dict[str, Any]]:
        """What trials noted that were interrupted by an exception."""
        return _lines(self.directory / "interrupted.jsonl")

    def hurry(self) -> None:
        """Let requeued jobs start soon: SLURM has them wait for two minutes."""
        now = time.monotonic()
        for line in self.slurm("squeue", "-h", "-r", "-t", "PD", "-o", "%i %r").splitlines():
            job_id, _, reason = line.partition(" ")
            # Not at once: SLURM would take the end of the job's first life, when it hears of that, for its second's.
            if reason == "BeginTime" and now - self.requeued.setdefault(job_id, now) > _SETTLED_S:
                # It may have begun meanwhile.
                subprocess.run(["scontrol", "update", f"JobId={job_id}", "StartTime=now"], env=self.env, timeout=60)
                del self.requeued[job_id]

    def wait_hurrying(self, process: subprocess.Popen[str], timeout_s: float) -> int:
        """Wait for the end of a process, and return its exit status."""

        def ended() -> bool:
            self.hurry()
            return process.poll() is not None

        wait_for(ended, "the process has ended", timeout_s)
        status: int = process.returncode
        return status

    def bring_back(self, node: str) -> None:
        """Start a node again that went down, and wait until it takes jobs."""
        self.cluster.start_node(node)
        # Refused if the node has registered by then, and so is back already.
        subprocess.run(["scontrol", "update", f"NodeName={node}", "State=RESUME"], env=self.env, timeout=60)
        wait_for(lambda: "down" not in self.slurm("sinfo", "-h", "-N", "-n", node, "-o", "%t"), "the node is back")

    def jobs(self) -> list[str]:
        """Ids of the jobs in the queue, each task of an array by itself."""
        return self.slurm("squeue", "-h", "-r", "-o", "%i").split()


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def events(directory: Path) -> list[dict[str, Any]]:
    """The ledger's events of a sweep directory, in order of time."""
    files = (directory / ".sweep" / "events").glob("*.jsonl")
    # A line that is being written is none yet.
    lines = [json.loads(line) for path in files for line in path.read_text().split("\n")[:-1]]
    return sorted(lines, key=lambda event: float(event["time"]))


def assert_all_finished_once(project: SlurmProject, directory: Path, trials: int) -> None:
    """Every trial has finished, once, by the ledger's word, by the results' and by the server's."""
    results = yaml.safe_load((directory / "optimization_results.yaml").read_text())
    counts = {"finished": trials, "failed": 0, "stopped": 0, "running": 0, "queued": 0}
    assert results["trials"] == counts, (directory / "supervisor.log").read_text()[-5000:]
    finished = [e["trial"] for e in events(directory) if e["event"] == "ended" and e["state"] == "finished"]
    assert sorted(finished) == list(range(trials))
    runs = project.runs()
    assert len(runs) == trials
    assert {run["state"] for run in runs} == {"finished"}


@pytest.fixture
def project(tmp_path: Path) -> Iterator[SlurmProject]:
    """A project on an idle cluster; its jobs and its server are ended afterwards."""
    reason = os.environ.get("HYDRA_NO_CLUSTER", "start pytest by `make test`")
    cluster = Cluster.in_use()
    if cluster is None:
        if os.environ.get("CI"):
            pytest.fail(f"no SLURM cluster: {reason}")
        pytest.skip(f"no SLURM cluster: {reason}")
    directory = tmp_path / "project"
    (directory / "conf").mkdir(parents=True)
    (directory / "conf" / "config.yaml").write_text(CONFIG)
    (directory / "app.py").write_text(APP)
    env = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
    env |= {"HOME": str(tmp_path), "WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL": "1", "WANDB_SILENT": "true"}
    project = SlurmProject(directory, env, cluster=cluster)
    yield project
    project.end()
    subprocess.run(["scancel", "--user=root"], env=env, timeout=60)
    wait_for(lambda: not project.jobs(), "the queue is empty")
