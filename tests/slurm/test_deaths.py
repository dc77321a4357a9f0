"""Whatever dies on a cluster, every configuration ends finished exactly once."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

from tests.slurm.conftest import SlurmProject, assert_all_finished_once, events
from tests.slurm.test_dispatch import SLURM, values
from tests.waiting import wait_for

# Four jobs that can't share a node, of trials that last a while and go on from where they were.
SPREAD = ("hydra/launcher=submitit_slurm", "hydra.launcher.cpus_per_task=8", "hydra.launcher.timeout_min=30")
LASTING = ("steps=8", "step_s=0.5")


def runs_by_number(project: SlurmProject) -> dict[int, set[str]]:
    """The run ids under which each trial was begun."""
    numbers: dict[int, set[str]] = {}
    for mark in project.marks():
        numbers.setdefault(mark["num"], set()).add(mark["run"])
    return numbers


def running_agents(project: SlurmProject, directory: Any) -> list[dict[str, Any]]:
    said = events(directory)
    ended = {e["by"] for e in said if e["event"] == "agent_ended"}
    busy = {e["by"] for e in said if e["event"] == "claimed"}
    return [e for e in said if e["event"] == "agent_started" and e["by"] in busy - ended]


def test_agents_that_are_killed_are_replaced_and_their_trials_taken_over(project: SlurmProject) -> None:
    process, directory = project.start(*SLURM, "hydra.sweeper.agents=4", values(16), *LASTING)
    agents = wait_for(lambda: len(found := running_agents(project, directory)) == 4 and found, "four agents work")
    wait_for(lambda: len(project.marks()) >= 4, "their trials have begun")
    for agent in agents[:2]:
        os.kill(agent["pid"], signal.SIGKILL)
    assert process.wait(timeout=600) == 0, (directory / "supervisor.log").read_text()
    assert_all_finished_once(project, directory, 16)
    assert all(len(ids) == 1 for ids in runs_by_number(project).values())
    log = (directory / "supervisor.log").read_text()
    assert log.count(" died: job ") == 2
    assert len({e["by"] for e in events(directory) if e["event"] == "agent_started"}) > 4


def test_a_job_that_runs_out_of_memory_is_replaced_and_says_so(project: SlurmProject) -> None:
    process, directory = project.start(
        *SLURM, "hydra.launcher.mem_gb=1", "hydra.sweeper.agents=2", values(6), *LASTING, "hungry=3"
    )
    assert process.wait(timeout=600) == 0, (directory / "supervisor.log").read_text()
    assert_all_finished_once(project, directory, 6)
    assert all(len(ids) == 1 for ids in runs_by_number(project).values())
    assert [mark["resumed"] for mark in project.marks() if mark["x"] == 3] == [False, True]
    log = (directory / "supervisor.log").read_text()
    assert "exceeded memory limit" in log, "SLURM's own words"
    assert log.count(" died: job ") == 1


def test_an_agent_that_hangs_in_a_job_that_runs_is_noticed_by_its_silence(project: SlurmProject) -> None:
    process, directory = project.start(
        *SLURM, "hydra.sweeper.agents=2", "hydra.sweeper.agent_silence_min=1", values(8), *LASTING
    )
    agents = wait_for(lambda: len(found := running_agents(project, directory)) == 2 and found, "two agents work")
    os.kill(agents[0]["pid"], signal.SIGSTOP)
    assert process.wait(timeout=600) == 0, (directory / "supervisor.log").read_text()
    assert_all_finished_once(project, directory, 8)
    assert all(len(ids) == 1 for ids in runs_by_number(project).values())
    log = (directory / "supervisor.log").read_text()
    assert f"{agents[0]['by']} has given no sign of life for 1 min" in log
    assert log.count("no sign of life") == 1


def test_a_node_that_goes_down_takes_nothing_with_it(project: SlurmProject) -> None:
    process, directory = project.start(*SPREAD, "hydra.sweeper.agents=4", values(12), *LASTING)
    wait_for(lambda: len({mark["node"] for mark in project.marks()}) == 4, "a trial runs on every node")
    node = project.marks()[0]["node"]
    try:
        project.cluster.kill_node(node)
        project.slurm("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
        assert project.wait_hurrying(process, 300) == 0, (directory / "supervisor.log").read_text()
    finally:
        project.bring_back(node)
    assert_all_finished_once(project, directory, 12)
    assert all(len(ids) == 1 for ids in runs_by_number(project).values())


def test_a_cancelled_array_task_is_replaced(project: SlurmProject) -> None:
    process, directory = project.start(*SLURM, "hydra.sweeper.agents=3", values(9), *LASTING)
    wait_for(lambda: len(project.marks()) >= 3, "trials have begun")
    project.slurm("scancel", project.jobs()[0])
    assert process.wait(timeout=600) == 0, (directory / "supervisor.log").read_text()
    assert_all_finished_once(project, directory, 9)
    assert all(len(ids) == 1 for ids in runs_by_number(project).values())


def test_a_node_on_which_every_trial_fails_does_not_eat_the_sweep(project: SlurmProject) -> None:
    process, directory = project.start(
        # Long enough that much is left to claim when the agent on the bad node begins, however late that is.
        *SPREAD, "hydra.sweeper.agents=4", values(32), "steps=8", "bad_node=n2",
        "hydra.sweeper.max_consecutive_failures=3",
    )  # fmt: skip
    assert process.wait(timeout=600) == 0, (directory / "supervisor.log").read_text()
    results = json.dumps([e for e in events(directory) if e["event"] == "agent_ended"])
    assert "trials failed one after another" in results
    assert_all_finished_once(project, directory, 32)


def test_a_cluster_that_kills_every_agent_ends_the_sweep_with_the_reason(project: SlurmProject) -> None:
    (project.directory / "app.py").write_text(
        (project.directory / "app.py").read_text().replace("run = wandb.init()", "os.kill(os.getppid(), 9)")
    )
    process, directory = project.start(
        *SLURM, "hydra.sweeper.agents=2", values(4), "hydra.sweeper.max_agent_restarts=2",
        "hydra.sweeper.max_retries=20",
    )  # fmt: skip
    assert process.wait(timeout=600) == 1
    log = (directory / "supervisor.log").read_text()
    assert "could not be run to their end" in log
    assert "died: job" in log.splitlines()[-10:][0] or "died: job" in "\n".join(log.splitlines()[-20:])
    assert "FAILED" in log or "CANCELLED" in log
