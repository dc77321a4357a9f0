"""Sweeps that nobody watches: submitted and left alone, or left by a supervisor that died."""

from __future__ import annotations

import os
import signal

from tests.slurm.conftest import SlurmProject, assert_all_finished_once, events
from tests.slurm.test_deaths import LASTING, running_agents, runs_by_number
from tests.slurm.test_dispatch import SLURM, values
from tests.waiting import wait_for


def test_a_sweep_that_is_left_alone_finishes_although_agents_die(project: SlurmProject) -> None:
    left_alone = (*SLURM, "hydra.sweeper.wait=false", "hydra.sweeper.agents=3")
    process, directory = project.start(*left_alone, values(9), *LASTING)
    assert process.wait(timeout=60) == 0
    log = (directory / "supervisor.log").read_text()
    assert "3 job(s) submitted; not waiting" in log
    agents = wait_for(lambda: len(found := running_agents(project, directory)) == 3 and found, "three agents work")
    for agent in agents:
        os.kill(agent["pid"], signal.SIGKILL)
    wait_for((directory / "optimization_results.yaml").exists, "the first keeper was there", 120)
    wait_for(lambda: not project.jobs(), "everything has ended", 240)
    assert_all_finished_once(project, directory, 9)
    assert all(len(ids) == 1 for ids in runs_by_number(project).values())
    written = [path for path in directory.rglob("*") if path.is_file()]
    key = project.server().api_key.encode()
    assert not [path for path in written if key in path.read_bytes()]


def test_agents_outlive_their_supervisor(project: SlurmProject) -> None:
    process, directory = project.start(*SLURM, "hydra.sweeper.agents=2", values(6), *LASTING)
    wait_for(lambda: len(project.marks()) >= 2, "trials have begun")
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)
    wait_for(lambda: not project.jobs(), "all jobs have ended", 180)
    finished = [e["trial"] for e in events(directory) if e["event"] == "ended" and e["state"] == "finished"]
    assert sorted(finished) == list(range(6))
    assert {run["state"] for run in project.runs()} == {"finished"}


def test_submitting_returns_at_once_while_jobs_wait(project: SlurmProject) -> None:
    whole = ("-N4", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 600")
    blocker = project.slurm("sbatch", "--parsable", *whole).strip()
    wait_for(lambda: "RUNNING" in project.slurm("squeue", "-h", "-j", blocker, "-o", "%T"), "the cluster is taken")
    process, directory = project.start(*SLURM, "hydra.sweeper.wait=false", "hydra.sweeper.agents=2", values(2))
    assert process.wait(timeout=60) == 0
    assert not project.marks()
    assert len(project.jobs()) == 4
    project.slurm("scancel", blocker)
    wait_for(lambda: not project.jobs(), "everything has ended", 120)
    assert_all_finished_once(project, directory, 2)
