"""Several tasks that are one agent, and several agents in one task."""

from __future__ import annotations

import os

from hydra_plugins.hydra_wandb_sweeper._shares import share_of, usable_cpus
from tests.integration.sweeper.test_ranks import APP, marks
from tests.slurm.conftest import SlurmProject, assert_all_finished_once, events
from tests.slurm.test_dispatch import SLURM, values


def test_the_tasks_of_a_job_on_two_nodes_run_each_trial_together(project: SlurmProject) -> None:
    (project.directory / "app.py").write_text(APP)
    (project.directory / "conf" / "config.yaml").write_text("x: 0\nbehave: null\nonly: null\n")
    process, directory = project.start(
        *SLURM, "hydra.launcher.nodes=2", "hydra.launcher.tasks_per_node=1", "hydra.sweeper.agents=1", values(4)
    )
    assert process.wait(timeout=600) == 0, (directory / "supervisor.log").read_text()
    assert_all_finished_once(project, directory, 4)
    first, second = marks(project, 0), marks(project, 1)
    assert [mark["x"] for mark in first] == [mark["x"] for mark in second] == [0, 1, 2, 3]
    assert [(m["overrides"], m["dir"]) for m in first] == [(m["overrides"], m["dir"]) for m in second]
    assert [mark["disabled"] for mark in first + second] == [False] * 4 + [True] * 4
    assert sorted(run["summary"]["seen"] for run in project.runs()) == [1, 3, 5, 7]
    assert len([e for e in events(directory) if e["event"] == "agent_started"]) == 1


def test_agents_share_a_job_of_one_task_and_divide_its_gpus_and_cpus(project: SlurmProject) -> None:
    # The cluster has no GPUs; the names of two come from where SLURM's would.
    process, directory = project.start(
        *SLURM, "hydra.launcher.cpus_per_task=2", "hydra.launcher.setup=['export CUDA_VISIBLE_DEVICES=GPU-a,GPU-b']",
        "hydra.sweeper.agents=4", "hydra.sweeper.agents_per_job=2", values(8), "steps=2",
    )  # fmt: skip
    assert process.wait(timeout=600) == 0, (directory / "supervisor.log").read_text()
    assert_all_finished_once(project, directory, 8)
    started = [e["by"] for e in events(directory) if e["event"] == "agent_started"]
    assert sorted(started) == ["agent-0-0", "agent-0-1", "agent-1-0", "agent-1-1"]
    assert len({mark["job"] for mark in project.marks()}) == 2
    agents = {e["run_id"]: e["by"] for e in events(directory) if e["event"] == "claimed"}
    used = {(agents[mark["run"]][-1], mark["gpus"], tuple(mark["cpus"])) for mark in project.marks()}
    logs = "".join(path.read_text() for path in (directory / ".submitit").rglob("*_log.*"))
    # The nodes are this machine, and SLURM binds no task to CPUs here.
    shares = [share_of(i, 2, {"CUDA_VISIBLE_DEVICES": "GPU-a,GPU-b"}, usable_cpus()) for i in (0, 1)]
    cpus = [tuple(sorted(share.cpus or os.sched_getaffinity(0))) for share in shares]
    assert used <= {("0", "GPU-a", cpus[0]), ("1", "GPU-b", cpus[1])}
    assert all(f"Agent agent-{job}-{i}: {shares[i].text}" in logs for job in (0, 1) for i in (0, 1))
