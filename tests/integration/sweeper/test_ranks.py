"""Jobs of several tasks: one agent, whose ranks run each trial together (DDP and the like)."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from tests.integration.sweeper.conftest import Project

# Each trial sums x + rank over all ranks, by a connection between them, as an all-reduce would.
APP = '''
import json, time
from multiprocessing.connection import Client, Listener
from pathlib import Path
import hydra
import submitit
import wandb
from hydra.core.hydra_config import HydraConfig


def all_reduce(value, rank, size, directory):
    """The sum of every rank's value, as every rank gets it."""
    place = directory / "rank0.address"
    if rank == 0:
        with Listener(("127.0.0.1", 0)) as listener:
            part = place.with_suffix(".part")
            part.write_text(str(listener.address[1]))
            part.rename(place)
            peers = [listener.accept() for _ in range(size - 1)]
            total = value + sum(peer.recv() for peer in peers)
            for peer in peers:
                peer.send(total)
        place.unlink()
        return total
    with connect(place) as peer:
        peer.send(value)
        return peer.recv()


def connect(place):
    """Rank 0, once it listens; an attempt that failed may have left an address of its own."""
    while True:
        try:
            return Client(("127.0.0.1", int(place.read_text())))
        except (FileNotFoundError, ConnectionRefusedError):
            time.sleep(0.05)


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg):
    job = submitit.JobEnvironment()
    directory = Path(HydraConfig.get().runtime.output_dir)
    run = wandb.init()
    mark = {"rank": job.global_rank, "x": cfg.x, "dir": str(directory), "host": job.hostname,
            "overrides": list(HydraConfig.get().overrides.task), "disabled": bool(run.disabled)}
    with open(f"marks-{job.global_rank}.jsonl", "a") as file:
        file.write(json.dumps(mark) + "\\n")
    failed_before = Path(f"failed-{cfg.x}")
    if cfg.behave == "raise" and job.global_rank == 1 and cfg.x == cfg.only and not failed_before.exists():
        failed_before.touch()
        raise ValueError("rank 1 is no good")
    total = all_reduce(cfg.x + job.global_rank, job.global_rank, job.num_tasks, directory)
    run.log({"seen": total})
    return float(total)


if __name__ == "__main__":
    main()
'''
TWO_TASKS = ("hydra/launcher=submitit_local", "hydra.launcher.tasks_per_node=2", "hydra.sweeper.agents=1")


def marks(project: Project, rank: int) -> list[dict[str, Any]]:
    lines = (project.directory / f"marks-{rank}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("isolation", ["fork", "spawn"])
def test_all_ranks_run_every_trial_and_only_the_first_has_a_run(project: Project, isolation: str) -> None:
    (project.directory / "app.py").write_text(APP)
    sweep = project.sweep("x=1,2,3", *TWO_TASKS, f"hydra.sweeper.isolation={isolation}")
    first, second = marks(project, 0), marks(project, 1)
    assert [mark["x"] for mark in first] == [1, 2, 3]
    assert [(m["overrides"], m["dir"]) for m in first] == [(m["overrides"], m["dir"]) for m in second]
    assert [mark["disabled"] for mark in first + second] == [False] * 3 + [True] * 3
    assert sorted(run["summary"]["seen"] for run in project.runs()) == [3, 5, 7]
    assert sweep.results["best_value"] == 3.0
    assert sweep.results["trials"]["finished"] == 3
    assert len(list(sweep.directory.glob("*/trial.rank1.log"))) == 3


def test_a_rank_that_fails_ends_the_trial_which_is_run_again_by_all(project: Project) -> None:
    (project.directory / "app.py").write_text(APP)
    sweep = project.sweep("x=1,2", *TWO_TASKS, "behave=raise", "only=2")
    # Whether rank 0 gets as far as its mark before rank 1 fails is a matter of luck.
    assert [mark["x"] for mark in marks(project, 0)] in ([1, 2], [1, 2, 2])
    assert [mark["x"] for mark in marks(project, 1)] == [1, 2, 2]
    assert [(row["state"], row["attempts"]) for row in sweep.trials] == [("finished", "1"), ("finished", "2")]
    said = [json.loads(line) for path in (sweep.directory / ".sweep" / "events").glob("agent-0.jsonl")
            for line in path.read_text().splitlines()]  # fmt: skip
    (failed,) = [event for event in said if event.get("state") == "failed"]
    (log,) = (sweep.directory / ".submitit").rglob("*_1_log.out")
    assert "Trial 1 failed in rank 1; see trial.rank1.log." in log.read_text()
    assert "rank 1 of 2 failed; see trial.rank1.log" in failed["error"]
    assert "rank 1 is no good" in (sweep.directory / "1" / "trial.rank1.log").read_text()
    assert yaml.safe_load((sweep.directory / "1" / ".hydra" / "overrides.yaml").read_text())[0] == "x=2"


def test_tasks_of_a_job_are_no_agents_of_their_own(project: Project) -> None:
    sweep = project.sweep(
        "x=1,2", *TWO_TASKS, "hydra.sweeper.agents=2", "hydra.sweeper.agents_per_job=2", check=False
    )
    assert sweep.process.returncode == 1
    assert "hydra.sweeper.agents_per_job=2" in sweep.output
    assert "one agent together" in sweep.output
