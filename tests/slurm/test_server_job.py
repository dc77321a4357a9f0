"""The embedded server in a job of its own, on a node of the cluster instead of on the login node."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.slurm.conftest import SlurmProject, assert_all_finished_once
from tests.slurm.test_deaths import LASTING, runs_by_number
from tests.slurm.test_dispatch import SLURM, values
from tests.waiting import wait_for
from wandb_sweep_server.launch import ServerAddress, read_address

SERVER_JOB = (*SLURM, "hydra.sweeper.server_job=true")


def server_jobs(project: SlurmProject) -> list[str]:
    """Ids of the jobs in the queue that host a server, by their name."""
    return project.slurm("squeue", "-h", "-n", "app-server", "-o", "%i").split()


def environment_of(address: ServerAddress) -> dict[str, str]:
    items = Path(f"/proc/{address.pid}/environ").read_text().split("\0")
    return dict(item.split("=", 1) for item in items if "=" in item)


def test_the_server_of_a_sweep_that_is_left_alone_runs_on_a_node(project: SlurmProject) -> None:
    process, directory = project.start(*SERVER_JOB, "hydra.sweeper.wait=false", "hydra.sweeper.agents=2", values(6))
    log = directory / "supervisor.log"
    assert process.wait(timeout=600) == 0, log.read_text()
    (job,) = server_jobs(project)
    address = project.server()
    assert f"The embedded server runs at {address.url}, in job {job}." in log.read_text()
    assert environment_of(address)["SLURM_JOB_ID"] == job
    assert environment_of(address)["SLURMD_NODENAME"] in ("n1", "n2", "n3", "n4")
    assert address.host == "0.0.0.0"
    wait_for(lambda: project.jobs() == [job], "all but the server's job have ended", 600)
    assert_all_finished_once(project, directory, 6)

    again, second = project.start(*SERVER_JOB, "hydra.sweeper.agents=1", "x=1")
    assert again.wait(timeout=600) == 0, (second / "supervisor.log").read_text()
    assert f"runs already, at {address.url}" in (second / "supervisor.log").read_text()
    assert server_jobs(project) == [job]

    key = address.api_key
    script = project.slurm("scontrol", "write", "batch_script", job, "-")
    assert "wandb" not in script
    assert key not in script
    assert key not in project.slurm("scontrol", "show", "job", job)
    assert key not in Path(f"/proc/{address.pid}/cmdline").read_text()
    written = [path for place in (directory, second) for path in place.rglob("*") if path.is_file()]
    assert [path for path in written if path.name == f"{job}_submitted.pkl"]
    assert not [path for path in written if key.encode() in path.read_bytes()]

    os.kill(address.pid, signal.SIGTERM)
    wait_for(lambda: not project.jobs(), "the job ends with its server")
    assert "COMPLETED" in project.slurm("scontrol", "show", "job", job)


def test_at_its_time_limit_a_successor_goes_on_at_the_same_address(project: SlurmProject) -> None:
    process, directory = project.start(*SERVER_JOB, "hydra.sweeper.agents=3", values(12), *LASTING)
    wait_for(lambda: len(project.marks()) >= 3, "trials run")
    (job,) = server_jobs(project)
    first = project.server()
    # SLURM delivers its warning like this, to all processes of the job's steps.
    project.slurm("scancel", "--signal=USR2", job)

    def has_come_back() -> ServerAddress | None:
        address = read_address(first.directory)
        return address if address is not None and address.instance != first.instance else None

    second = wait_for(has_come_back, "another server has come", 600)
    assert (second.url, second.api_key) == (first.url, first.api_key)
    (successor,) = wait_for(lambda: (jobs := server_jobs(project)) != [job] and jobs, "the first job is gone")
    assert int(successor) > int(job)
    assert environment_of(second)["SLURM_JOB_ID"] == successor
    shown = project.slurm("scontrol", "show", "job", "-o", successor)
    node = environment_of(second)["SLURMD_NODENAME"]
    assert f"ReqNodeList={node}" in shown
    assert f"NodeList={node}" in project.slurm("scontrol", "show", "job", "-o", job)
    assert process.wait(timeout=600) == 0, (directory / "supervisor.log").read_text()
    assert_all_finished_once(project, directory, 12)
    assert len(project.marks()) == 12
    assert all(len(ids) == 1 for ids in runs_by_number(project).values())


def test_a_server_s_job_that_can_not_serve_is_told_with_its_logs(project: SlurmProject) -> None:
    process, directory = project.start(
        *SERVER_JOB, "hydra.sweeper.agents=1", "x=1", "hydra.launcher.setup=['exit 3']"
    )
    assert process.wait(timeout=600) == 1
    log = (directory / "supervisor.log").read_text()
    assert "ended without serving (FAILED" in log
    assert "Traceback" not in log
    assert not project.jobs()


def test_a_refused_server_s_job_shows_sbatch_s_own_words(project: SlurmProject) -> None:
    process, directory = project.start(
        *SERVER_JOB, "hydra.sweeper.agents=1", "x=1", "hydra.launcher.partition=nonsense"
    )
    assert process.wait(timeout=600) == 1
    log = (directory / "supervisor.log").read_text()
    assert "The server's job can't be submitted" in log
    assert "invalid partition specified: nonsense" in log


def test_ctrl_c_while_the_server_s_job_waits_cancels_it(project: SlurmProject) -> None:
    whole = ("-N4", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 600")
    blocker = project.slurm("sbatch", "--parsable", *whole).strip()
    wait_for(lambda: "RUNNING" in project.slurm("squeue", "-h", "-j", blocker, "-o", "%T"), "the cluster is taken")
    process, directory = project.start(*SERVER_JOB, "hydra.sweeper.agents=1", "x=1")
    log = directory / "supervisor.log"
    wait_for(lambda: "(PENDING: " in log.read_text(), "the server's job waits")
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=600) != 0
    wait_for(lambda: project.jobs() == [blocker], "its job is cancelled")


def test_a_server_whose_node_goes_down_comes_back_on_another(project: SlurmProject) -> None:
    # Two agents fit on a node: one shares it with the server, and there is room elsewhere.
    half = ("hydra.launcher.cpus_per_task=4", "hydra.sweeper.agents=3")
    process, directory = project.start(*SERVER_JOB, *half, values(12), *LASTING)
    wait_for(lambda: len(project.marks()) >= 3, "trials run")
    (job,) = server_jobs(project)
    first = project.server()
    node = environment_of(first)["SLURMD_NODENAME"]
    try:
        project.cluster.kill_node(node)
        project.slurm("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
        assert project.wait_hurrying(process, 400) == 0, (directory / "supervisor.log").read_text()
    finally:
        project.bring_back(node)
    second = project.server()
    assert second.instance != first.instance
    assert environment_of(second)["SLURM_JOB_ID"] == job
    assert environment_of(second)["SLURMD_NODENAME"] != node
    assert_all_finished_once(project, directory, 12)
