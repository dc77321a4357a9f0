"""Sweeps that nobody watches, were left by their supervisor, or are steered from another shell."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from typing import Any

from tests.integration.sweeper.conftest import heed_terminal
from tests.integration.sweeper.test_command import answer, command
from tests.slurm.cluster import MAX_SUBMIT_JOBS
from tests.slurm.conftest import SlurmProject, assert_all_finished_once, events
from tests.slurm.test_deaths import LASTING, running_agents, runs_by_number
from tests.slurm.test_dispatch import SLURM, values
from tests.waiting import wait_for


def test_a_sweep_that_is_left_alone_finishes_although_agents_die(project: SlurmProject) -> None:
    left_alone = (*SLURM, "hydra.sweeper.wait=false", "hydra.sweeper.agents=3")
    process, directory = project.start(*left_alone, values(9), *LASTING)
    assert process.wait(timeout=600) == 0
    log = (directory / "supervisor.log").read_text()
    assert "3 job(s) submitted; not waiting" in log
    agents = wait_for(lambda: len(found := running_agents(project, directory)) == 3 and found, "three agents work")
    for agent in agents:
        os.kill(agent["pid"], signal.SIGKILL)
    wait_for((directory / "optimization_results.yaml").exists, "the first keeper was there", 600)
    wait_for(lambda: not project.jobs(), "everything has ended", 600)
    assert_all_finished_once(project, directory, 9)
    assert all(len(ids) == 1 for ids in runs_by_number(project).values())
    written = [path for path in directory.rglob("*") if path.is_file()]
    key = project.server().api_key.encode()
    assert not [path for path in written if key in path.read_bytes()]


def test_a_sweep_whose_supervisor_was_killed_goes_on_and_is_watched_over_again(project: SlurmProject) -> None:
    process, directory = project.start(*SLURM, "hydra.sweeper.agents=2", values(8), *LASTING)
    agents = wait_for(lambda: len(found := running_agents(project, directory)) == 2 and found, "two agents work")
    wait_for(lambda: len(project.marks()) >= 2, "trials have begun")
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=600)
    os.kill(agents[0]["pid"], signal.SIGKILL)
    wait_for(lambda: len({mark["num"] for mark in project.marks()}) >= 3, "the other agent goes on")
    (directory / ".sweep" / "supervisor.json").unlink()  # its last sign of life would count for 90 s
    shown = answer(project, "status", str(directory))
    assert shown["supervisor"] is None
    assert [agent["job_state"] for agent in shown["agents"] if agent["ended"] is None] == ["RUNNING"]
    assert [agent["ended"] for agent in shown["agents"]].count("it died") == 1
    attached = answer(project, "attach", str(directory))
    assert attached["state"] == "finished"
    assert len(attached["agents"]) == 3, "one replaces the dead one"
    assert_all_finished_once(project, directory, 8)
    assert all(len(ids) == 1 for ids in runs_by_number(project).values())


def test_a_closed_terminal_ends_nothing(project: SlurmProject) -> None:
    terminal, other_end = pty.openpty()
    directory = project.directory / "sweep"
    overrides = ("hydra/sweeper=wandb", f"hydra.sweep.dir={directory}", *SLURM, "hydra.sweeper.agents=2", values(6))
    process = subprocess.Popen(
        [sys.executable, "app.py", "-m", *overrides, *LASTING],
        cwd=project.directory, env=project.env, stdin=other_end, stdout=other_end, stderr=other_end,
        start_new_session=True, preexec_fn=lambda: _take_terminal(other_end),
    )  # fmt: skip
    os.close(other_end)
    wait_for(lambda: len(project.marks()) >= 2, "trials have begun")
    os.close(terminal)  # what happens when a window is closed, or ssh is cut off
    assert process.wait(timeout=600) == 128 + signal.SIGHUP
    log = (directory / ".sweep" / "supervisor.log").read_text()
    assert f"hydra-sweep attach {directory}" in log
    wait_for(lambda: not project.jobs(), "everything has ended", 600)
    (directory / "supervisor.log").write_text(log)
    assert_all_finished_once(project, directory, 6)
    assert any(e["event"] == "keeper_submitted" for e in events(directory))


def _take_terminal(descriptor: int) -> None:
    """In a new session: make a terminal the controlling one, whose end is told to it."""
    import fcntl
    import termios

    heed_terminal()
    fcntl.ioctl(descriptor, termios.TIOCSCTTY, 0)


def test_a_sweep_is_steered_from_another_shell(project: SlurmProject) -> None:
    whole = ("hydra/launcher=submitit_slurm", "hydra.launcher.cpus_per_task=8", "hydra.launcher.timeout_min=30")
    process, directory = project.start(*whole, "hydra.sweeper.agents=1", values(12), *LASTING)
    wait_for(lambda: project.marks(), "a trial has begun")
    # Else a slow machine has run all trials before the second agent gets one.
    command(project, "pause", str(directory))
    blocker = _take_nodes(project, 3)
    wait_for(lambda: blocker in _running(project), "the cluster is taken")
    (waiting,) = answer(project, "agents", str(directory), "--add", "1")["jobs"]
    assert answer(project, "drain", str(directory), waiting) == {"agents": ["agent-1"]}
    wait_for(lambda: waiting not in project.jobs(), "the job that waited is cancelled")
    project.slurm("scancel", blocker)
    (added,) = answer(project, "agents", str(directory), "--add", "1")["jobs"]
    wait_for(lambda: added in _running(project), "the new job runs")
    command(project, "resume", str(directory))
    wait_for(lambda: added in {mark["job"] for mark in project.marks()}, "the new job's agent works")
    assert answer(project, "drain", str(directory), "agent-2") == {"agents": ["agent-2"]}
    command(project, "pause", str(directory))
    wait_for(lambda: len(_agents(project, directory)) == 1, "the drained agent has ended", 600)
    (left,) = _agents(project, directory)
    wait_for(lambda: _running(project) == [left["job"]], "the drained agent's job has ended")
    command(project, "resume", str(directory))
    assert process.wait(timeout=600) == 0, (directory / "supervisor.log").read_text()
    assert_all_finished_once(project, directory, 12)
    assert len({mark["job"] for mark in project.marks()}) == 2
    assert " died" not in (directory / "supervisor.log").read_text()


def _running(project: SlurmProject) -> list[str]:
    return project.slurm("squeue", "-h", "-r", "-o", "%i", "-t", "R").split()


def _agents(project: SlurmProject, directory: object) -> list[dict[str, object]]:
    return [agent for agent in answer(project, "status", str(directory))["agents"] if agent["ended"] is None]


def test_cancelling_a_sweep_that_was_left_alone_ends_its_jobs(project: SlurmProject) -> None:
    left_alone = (*SLURM, "hydra.sweeper.wait=false", "hydra.sweeper.agents=2")
    process, directory = project.start(*left_alone, values(6), "steps=600")
    assert process.wait(timeout=600) == 0
    wait_for(lambda: len(project.marks()) == 2, "trials have begun")
    command(project, "cancel", str(directory))
    wait_for(lambda: not project.jobs(), "everything has ended", 600)
    shown = answer(project, "status", str(directory))
    assert (shown["state"], shown["trials"]["stopped"]) == ("cancelled", 2)
    assert len(project.marks()) == 2
    assert {run["state"] for run in project.runs()} <= {"killed", "failed"}


def test_repeating_the_command_with_the_sweep_s_id_adds_agents(project: SlurmProject) -> None:
    process, directory = project.start(*SLURM, "hydra.sweeper.agents=1", values(12), *LASTING)
    wait_for(lambda: project.marks(), "a trial has begun")
    path = answer(project, "status", str(directory))["sweep"]
    second, joined = project.start(
        *SLURM, "hydra.sweeper.agents=2", values(12), f"hydra.sweeper.sweep_id={path}", *LASTING
    )
    assert process.wait(timeout=600) == 0, (directory / "supervisor.log").read_text()
    assert second.wait(timeout=600) == 0, (joined / "supervisor.log").read_text()
    marks = project.marks()
    assert sorted(mark["x"] for mark in marks) == list(range(12))
    assert len({mark["job"] for mark in marks}) == 3
    assert {run["state"] for run in project.runs()} == {"finished"}
    both = [e for d in (directory, joined) for e in events(d) if e["event"] == "ended" and e["state"] == "finished"]
    assert sorted(e["run_id"] for e in both) == sorted(mark["run"] for mark in marks)


def test_submitting_returns_at_once_and_a_job_that_comes_too_late_ends_well(project: SlurmProject) -> None:
    few, rest = (_take_nodes(project, count) for count in (1, 3))
    wait_for(lambda: sorted(_running(project)) == sorted([few, rest]), "the cluster is taken")
    whole = ("hydra/launcher=submitit_slurm", "hydra.launcher.cpus_per_task=8", "hydra.launcher.timeout_min=30")
    process, directory = project.start(*whole, "hydra.sweeper.wait=false", "hydra.sweeper.agents=2", values(2))
    assert process.wait(timeout=600) == 0
    assert not project.marks()
    assert len(project.jobs()) == 5
    project.slurm("scancel", few)
    wait_for(lambda: len([e for e in events(directory) if e["event"] == "ended"]) == 2, "one job runs both trials")
    project.slurm("scancel", rest)
    wait_for(lambda: not project.jobs(), "everything has ended", 600)
    assert_all_finished_once(project, directory, 2)
    jobs = {e["job_id"] for e in events(directory) if e["event"] == "job_submitted"}
    for job in jobs:
        said = project.slurm("scontrol", "show", "job", "-o", job)
        assert "JobState=COMPLETED" in said
        assert "ExitCode=0:0" in said


def _take_nodes(project: SlurmProject, count: int) -> str:
    whole = (f"-N{count}", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 600")
    return project.slurm("sbatch", "--parsable", *whole).strip()


def test_where_agents_use_up_a_limit_on_jobs_one_makes_room_for_the_keeper(project: SlurmProject) -> None:
    limited = (*SLURM, "hydra.launcher.partition=few", f"hydra.sweeper.agents={MAX_SUBMIT_JOBS}")
    process, directory = project.start(*limited, "hydra.sweeper.wait=false", values(6), "steps=4")
    assert process.wait(timeout=600) == 0, (directory / "supervisor.log").read_text()
    (dismissed,) = [e["jobs"] for e in events(directory) if e["event"] == "jobs_dismissed"]
    assert dismissed == [MAX_SUBMIT_JOBS - 1]
    assert any(e["event"] == "keeper_submitted" for e in events(directory))
    wait_for(lambda: not project.jobs(), "everything has ended", 600)
    assert_all_finished_once(project, directory, 6)


def test_of_agents_that_are_left_alone_a_dead_one_is_replaced_while_the_others_work(project: SlurmProject) -> None:
    left_alone = (*SLURM, "hydra.sweeper.wait=false", "hydra.sweeper.agents=2")
    process, directory = project.start(*left_alone, values(12), "steps=20", "step_s=0.5")
    assert process.wait(timeout=600) == 0, (directory / "supervisor.log").read_text()
    agents = wait_for(lambda: len(found := running_agents(project, directory)) == 2 and found, "two agents work")
    os.kill(agents[0]["pid"], signal.SIGKILL)
    wait_for(lambda: not project.jobs(), "everything has ended", 600)
    assert_all_finished_once(project, directory, 12)
    assert all(len(ids) == 1 for ids in runs_by_number(project).values())
    said = events(directory)
    (replacement,) = [e for e in said if e["event"] == "agent_started" and e["job_number"] > 1]
    (end,) = [e for e in said if e["event"] == "agent_ended" and e["by"] == agents[1]["by"]]
    assert replacement["time"] < end["time"]


def test_what_a_limit_refused_of_a_sweep_that_is_left_alone_follows_as_jobs_end(project: SlurmProject) -> None:
    limited = (*SLURM, "hydra.launcher.partition=few", "hydra.sweeper.wait=false", "hydra.sweeper.agents=8")
    # The trial of x lasts for x seconds, and is its agent's only one: of the first, one ends long before the others.
    one_each = ("x=0,60,61,62,1,2,3,4", "steps=${x}", "step_s=1", "hydra.sweeper.trials_per_agent=1")
    process, directory = project.start(*limited, *one_each)
    assert process.wait(timeout=600) == 0, (directory / "supervisor.log").read_text()
    first = [e for e in events(directory) if e["event"] == "job_submitted"]
    assert len(first) < MAX_SUBMIT_JOBS + 1
    wait_for(lambda: not project.jobs(), "everything has ended", 600)
    assert_all_finished_once(project, directory, 8)
    said = events(directory)
    later = [e for e in said if e["event"] == "job_submitted" and e not in first]
    last_end = max(e["time"] for e in said if e["event"] == "agent_ended" and e["by"] in _agents_of(first))
    assert any(job["time"] < last_end for job in later), "not only when all of the first jobs had ended"


def test_agents_that_a_limit_refuses_when_they_are_added_follow_as_jobs_end(project: SlurmProject) -> None:
    limited = (*SLURM, "hydra.launcher.partition=few", "hydra.sweeper.agents=1")
    process, directory = project.start(*limited, values(40), *LASTING)
    wait_for(lambda: project.marks(), "a trial has begun")
    added = answer(project, "agents", str(directory), "--add", "8")
    assert (len(added["jobs"]), added["follow"]) == (MAX_SUBMIT_JOBS - 1, 8 - (MAX_SUBMIT_JOBS - 1))
    assert answer(project, "drain", str(directory), "agent-0") == {"agents": ["agent-0"]}

    def submitted() -> int:
        return sum(e["event"] == "job_submitted" for e in events(directory))

    wait_for(lambda: submitted() == MAX_SUBMIT_JOBS + 1, "another one takes the place of the job that has ended")
    assert process.wait(timeout=600) == 0, (directory / "supervisor.log").read_text()
    assert_all_finished_once(project, directory, 40)


def _agents_of(jobs: list[dict[str, Any]]) -> set[str]:
    return {f"agent-{job['number']}" for job in jobs}
