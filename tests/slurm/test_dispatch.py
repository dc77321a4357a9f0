"""Thousands of trials on few jobs: arrays, limits of the cluster, jobs that aren't needed any more."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import yaml

from tests.slurm.cluster import MAX_ARRAY_SIZE, MAX_SUBMIT_JOBS
from tests.slurm.conftest import SlurmProject, assert_all_finished_once, events
from tests.waiting import wait_for

SLURM = ("hydra/launcher=submitit_slurm", "hydra.launcher.timeout_min=30", "hydra.launcher.cpus_per_task=1")


def values(count: int) -> str:
    return "x=range(" + str(count) + ")"


def test_400_trials_on_8_jobs_all_finish_exactly_once(project: SlurmProject) -> None:
    process, directory = project.start(*SLURM, "hydra.sweeper.agents=8", values(400))
    assert process.wait(timeout=600) == 0, (directory / "supervisor.log").read_text()
    assert_all_finished_once(project, directory, 400)
    marks = project.marks()
    assert sorted(mark["x"] for mark in marks) == list(range(400))
    assert len({mark["run"] for mark in marks}) == 400
    assert len({mark["job"] for mark in marks}) == 8
    assert sorted(int(path.parent.name) for path in directory.glob("*/.hydra")) == list(range(400))


def test_more_agents_than_an_array_may_hold_are_split_over_arrays(project: SlurmProject) -> None:
    agents = 2 * MAX_ARRAY_SIZE + 8
    process, directory = project.start(*SLURM, f"hydra.sweeper.agents={agents}", values(60), "steps=4", "step_s=0.5")
    assert process.wait(timeout=600) == 0, (directory / "supervisor.log").read_text()
    assert_all_finished_once(project, directory, 60)
    # What is submitted later replaces jobs that SLURM could not begin: on a busy machine it may look for the
    # directory of a job's log before submitit has made it.
    log = (directory / "supervisor.log").read_text()
    first = re.search(rf"Submitted {agents} job\(s\): (\d+)_\[0-15\], (\d+)_\[0-15\], (\d+)_\[0-7\]\n", log)
    assert first is not None, log
    pickles = [path.name.split("_")[:2] for path in (directory / ".submitit").glob("*/*_submitted.pkl")]
    assert len([array for array, _ in pickles if array in first.groups()]) == agents


def test_what_the_cluster_refuses_for_now_follows_as_jobs_end(project: SlurmProject) -> None:
    process, directory = project.start(
        *SLURM, "hydra.launcher.partition=few", "hydra.sweeper.agents=12", "hydra.sweeper.trials_per_agent=1",
        values(12), "steps=2",
    )  # fmt: skip
    assert process.wait(timeout=600) == 0, (directory / "supervisor.log").read_text()
    assert_all_finished_once(project, directory, 12)
    log = (directory / "supervisor.log").read_text()
    assert "Not all jobs can be submitted now: " in log
    assert log.count("sbatch: error: QOSMaxSubmitJobPerUserLimit") == log.count("Not all jobs can be submitted now: ")
    assert f"{MAX_SUBMIT_JOBS} job(s) submitted" in log or "the cluster accepts no more for now" in log
    assert len({mark["job"] for mark in project.marks()}) == 12
    assert not list((directory / ".submitit").glob("*.pkl"))


def test_a_refused_submission_shows_sbatch_s_own_words(project: SlurmProject) -> None:
    process, directory = project.start(
        *SLURM, "hydra.launcher.partition=nonsense", "hydra.sweeper.agents=2", values(4)
    )
    assert process.wait(timeout=600) == 1
    log = (directory / "supervisor.log").read_text()
    assert "The jobs can't be submitted: " in log
    assert "invalid partition specified: nonsense" in log


def test_jobs_that_still_wait_are_cancelled_when_nothing_is_left(project: SlurmProject) -> None:
    # Each job asks for a whole node: the fifth and sixth wait.
    whole = ("hydra/launcher=submitit_slurm", "hydra.launcher.cpus_per_task=8", "hydra.launcher.timeout_min=30")
    process, directory = project.start(*whole, "hydra.sweeper.agents=6", values(6), "steps=1")
    assert process.wait(timeout=600) == 0, (directory / "supervisor.log").read_text()
    assert_all_finished_once(project, directory, 6)
    wait_for(lambda: not project.jobs(), "the queue is empty")
    assert len({e["by"] for e in events(directory) if e["event"] == "agent_started"}) <= 6


def test_a_sweep_runs_where_there_is_no_sacct(project: SlurmProject, tmp_path: Path) -> None:
    bin_dir = tmp_path / "bin"
    bin_dir.mkdir()
    for name in ("sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo", "bash", "env", "sh", "git"):
        (bin_dir / name).symlink_to(str(shutil.which(name)))
    project.env["PATH"] = str(bin_dir)
    process, directory = project.start(*SLURM, "hydra.sweeper.agents=2", values(4), "steps=1")
    wait_for(lambda: len(project.marks()) >= 1, "a trial runs")
    job = project.marks()[0]["job"]
    project.slurm("scancel", "--signal=KILL", job)
    assert process.wait(timeout=600) == 0, (directory / "supervisor.log").read_text()
    assert_all_finished_once(project, directory, 4)


def test_config_files_edited_while_jobs_wait_change_nothing(project: SlurmProject) -> None:
    # The whole cluster is taken, so that the agents' jobs wait.
    blocker = project.slurm(
        "sbatch", "--parsable", "-N4", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 600"
    ).strip()
    wait_for(lambda: "RUNNING" in project.slurm("squeue", "-h", "-j", blocker, "-o", "%T"), "the cluster is taken")
    process, directory = project.start(*SLURM, "hydra.sweeper.agents=2", values(4))
    wait_for(lambda: len(project.jobs()) == 3, "the jobs wait in the queue")
    (project.directory / "conf" / "config.yaml").write_text("word: edited\n")
    project.slurm("scancel", blocker)
    assert process.wait(timeout=600) == 0, (directory / "supervisor.log").read_text()
    assert {mark["word"] for mark in project.marks()} == {"as submitted"}
    saved = yaml.safe_load((directory / "0" / ".hydra" / "config.yaml").read_text())
    assert saved["word"] == "as submitted"
