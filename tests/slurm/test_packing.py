"""Several tasks that are one agent, and several agents in one task."""

from __future__ import annotations

from tests.integration.sweeper.test_ranks import APP, marks
from tests.slurm.conftest import SlurmProject, assert_all_finished_once, events
from tests.slurm.test_dispatch import SLURM, values


def test_the_tasks_of_a_job_on_two_nodes_run_each_trial_together(project: SlurmProject) -> None:
    (project.directory / "app.py").write_text(APP)
    (project.directory / "conf" / "config.yaml").write_text("x: 0\nbehave: null\nonly: null\n")
    process, directory = project.start(
        *SLURM, "hydra.launcher.nodes=2", "hydra.launcher.tasks_per_node=1", "hydra.sweeper.agents=1", values(4)
    )
    assert process.wait(timeout=180) == 0, (directory / "supervisor.log").read_text()
    assert_all_finished_once(project, directory, 4)
    first, second = marks(project, 0), marks(project, 1)
    assert [mark["x"] for mark in first] == [mark["x"] for mark in second] == [0, 1, 2, 3]
    assert [(m["overrides"], m["dir"]) for m in first] == [(m["overrides"], m["dir"]) for m in second]
    assert [mark["disabled"] for mark in first + second] == [False] * 4 + [True] * 4
    assert sorted(run["summary"]["seen"] for run in project.runs()) == [1, 3, 5, 7]
    assert len([e for e in events(directory) if e["event"] == "agent_started"]) == 1


def test_agents_share_a_job_of_one_task(project: SlurmProject) -> None:
    process, directory = project.start(
        *SLURM, "hydra.sweeper.agents=4", "hydra.sweeper.agents_per_job=2", values(8), "steps=2"
    )
    assert process.wait(timeout=180) == 0, (directory / "supervisor.log").read_text()
    assert_all_finished_once(project, directory, 8)
    started = [e["by"] for e in events(directory) if e["event"] == "agent_started"]
    assert sorted(started) == ["agent-0-0", "agent-0-1", "agent-1-0", "agent-1-1"]
    assert len({mark["job"] for mark in project.marks()}) == 2
