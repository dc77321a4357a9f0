"""Time limits and preemption: trials are told in time, handed over, and go on elsewhere from where they were."""

from __future__ import annotations

from typing import Any

import yaml

from tests.slurm.conftest import SlurmProject, assert_all_finished_once, events
from tests.slurm.test_deaths import runs_by_number
from tests.slurm.test_dispatch import SLURM, values
from tests.waiting import wait_for


def assert_resumed_where_interrupted(project: SlurmProject) -> None:
    """No trial began anew: each attempt began where the one before had come to, as the same, resumed run."""
    ends = {(mark["num"], mark["pid"], mark["job"]): mark["end"] for mark in project.interruptions()}
    last: dict[int, dict[str, Any]] = {}
    for mark in project.marks():
        if (before := last.get(mark["num"])) is not None:
            # Its first step may be too long for what its job had left. One that was killed notes no end.
            assert mark["begin"] == ends.get((mark["num"], before["pid"], before["job"]), mark["begin"])
            assert mark["begin"] >= before["begin"]
            # One that was interrupted before it could leave a mark is resumed as well.
            assert mark["resumed"]
        last[mark["num"]] = mark
    assert all(len(ids) == 1 for ids in runs_by_number(project).values())


def test_trials_longer_than_what_is_left_of_a_job_go_on_in_the_next(project: SlurmProject) -> None:
    process, directory = project.start(
        "hydra/launcher=submitit_slurm", "hydra.launcher.timeout_min=1", "hydra.launcher.signal_delay_s=20",
        "hydra.launcher.cpus_per_task=2", "hydra.sweeper.agents=16", values(40), "steps=40", "step_s=0.5",
        "hydra.sweeper.resumable=true",
    )  # fmt: skip
    assert process.wait(timeout=900) == 0, (directory / "supervisor.log").read_text()
    assert_all_finished_once(project, directory, 40)
    assert_resumed_where_interrupted(project)
    handed_over = [mark for mark in project.marks() if mark["begin"] > 0]
    assert handed_over
    assert {mark["num"] for mark in handed_over} <= {mark["num"] for mark in project.interruptions()}


def test_a_sweep_that_nobody_watches_goes_on_after_its_jobs_time_limits(project: SlurmProject) -> None:
    process, directory = project.start(
        "hydra/launcher=submitit_slurm", "hydra.launcher.timeout_min=1", "hydra.launcher.signal_delay_s=20",
        "hydra.launcher.max_num_timeout=1", "hydra.sweeper.agents=2", "hydra.sweeper.wait=false", values(4),
        "steps=50", "step_s=0.5", "hydra.sweeper.resumable=true",
    )  # fmt: skip
    assert process.wait(timeout=600) == 0

    def all_ended() -> bool:
        project.hurry()
        return not project.jobs()

    wait_for(all_ended, "everything has ended", 600)
    (directory / "supervisor.log").touch()
    assert_all_finished_once(project, directory, 4)
    assert_resumed_where_interrupted(project)
    started = [e for e in events(directory) if e["event"] == "agent_started"]
    assert max(e["restarts"] for e in started) >= 1, "a job was put back into the queue by its agent"
    assert len({e["job_number"] for e in started}) == 2, "and no other was needed"


def test_no_trial_is_begun_that_can_not_end_in_time(project: SlurmProject) -> None:
    process, directory = project.start(
        "hydra/launcher=submitit_slurm", "hydra.launcher.timeout_min=1", "hydra.launcher.signal_delay_s=20",
        "hydra.sweeper.agents=2", values(4), "steps=2", "step_s=0.5", "hydra.sweeper.trial_time_min=0.9",
    )  # fmt: skip
    assert process.wait(timeout=600) == 0, (directory / "supervisor.log").read_text()
    assert_all_finished_once(project, directory, 4)
    reasons = [e["reason"] for e in events(directory) if e["event"] == "agent_ended"]
    assert any("min are left in its job, and a trial takes 0.9 min" in reason for reason in reasons)
    assert not project.interruptions()
    assert len({mark["job"] for mark in project.marks()}) == 4
    left_s = [e["job_end"] - e["time"] for e in events(directory) if e["event"] == "agent_started"]
    assert all(0 < seconds <= 61 for seconds in left_s), "each agent says when the time of its job is over"


def test_a_trial_that_no_job_is_long_enough_for_fails_with_the_next_step(project: SlurmProject) -> None:
    process, directory = project.start(
        "hydra/launcher=submitit_slurm", "hydra.launcher.timeout_min=1", "hydra.launcher.signal_delay_s=30",
        "hydra.sweeper.agents=1", "x=1", "steps=400", "step_s=0.5", "hydra.sweeper.max_retries=0",
    )  # fmt: skip
    assert process.wait(timeout=600) == 1
    results = yaml.safe_load((directory / "optimization_results.yaml").read_text())
    assert results["trials"]["failed"] == 1
    assert "hydra.sweeper.resumable=true" in (directory / "trials.csv").read_text()


def test_preempted_jobs_come_back_and_their_trials_go_on(project: SlurmProject) -> None:
    process, directory = project.start(
        "hydra/launcher=submitit_slurm", "hydra.launcher.partition=low", "hydra.launcher.timeout_min=30",
        "hydra.launcher.cpus_per_task=8", "hydra.sweeper.agents=4", values(8), "steps=16", "step_s=0.5",
    )  # fmt: skip
    wait_for(lambda: len(project.marks()) >= 4, "a trial runs on every node")
    wait_for(lambda: len(list(directory.glob("*/step"))) >= 4, "each has written a checkpoint")
    urgent = project.slurm(
        "sbatch", "--parsable", "-p", "high", "-N4", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 10"
    ).strip()
    wait_for(lambda: project.slurm("squeue", "-h", "-j", urgent, "-t", "R", "-o", "%T"), "the urgent job runs", 600)
    assert process.wait(timeout=600) == 0, (directory / "supervisor.log").read_text()
    assert_all_finished_once(project, directory, 8)
    assert_resumed_where_interrupted(project)
    assert len(project.interruptions()) >= 4
    # SLURM's SIGTERM ends W&B's service as well: a task that logs before its agent has told it finds that gone.
    by = {mark["by"].partition("(")[0] for mark in project.interruptions()}
    assert "TrialPreempted" in by
    assert by <= {"TrialPreempted", "ConnectionResetError"}


def test_the_signal_of_a_time_limit_is_a_hand_over_in_good_order(project: SlurmProject) -> None:
    process, directory = project.start(*SLURM, "hydra.sweeper.agents=2", values(4), "steps=20", "step_s=0.5")
    wait_for(lambda: len(list(directory.glob("*/step"))) >= 2, "both trials have written a checkpoint")
    job = project.marks()[0]["job"]
    project.slurm("scancel", "--signal=USR2", job)
    assert process.wait(timeout=600) == 0, (directory / "supervisor.log").read_text()
    assert_all_finished_once(project, directory, 4)
    assert_resumed_where_interrupted(project)
    assert len(project.interruptions()) == 1
    said = [e["event"] for e in events(directory) if e.get("trial") == project.interruptions()[0]["num"]]
    assert said == ["claimed", "preempting", "offered", "claimed", "ended"]


def test_a_task_with_handlers_of_its_own_keeps_them(project: SlurmProject) -> None:
    app = (project.directory / "app.py").read_text()
    own = "    import signal\n    signal.signal(signal.SIGUSR2, lambda *_: open('own', 'w').close())\n    try:\n"
    (project.directory / "app.py").write_text(app.replace("    try:\n", own, 1))
    process, directory = project.start(*SLURM, "hydra.sweeper.agents=1", values(1), "steps=10", "step_s=0.5")
    wait_for(lambda: project.marks(), "the trial has begun")
    wait_for(lambda: (directory / "0" / "step").exists(), "its handler is there")
    project.slurm("scancel", "--signal=USR2", project.marks()[0]["job"])
    assert process.wait(timeout=600) == 0, (directory / "supervisor.log").read_text()
    assert (project.directory / "own").exists()
    assert_all_finished_once(project, directory, 1)
    assert len(project.marks()) == 1
