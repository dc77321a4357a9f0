"""`hydra-sweep` and Ctrl-C: how people look at sweeps that run, steer them, leave them and come back."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.sweeper.conftest import Project, heed_terminal
from tests.integration.sweeper.test_failures import events
from tests.waiting import wait_for
from wandb_sweep_server.launch import read_address

TWO_JOBS = ("hydra/launcher=submitit_local", "hydra.sweeper.agents=2")
LAUNCHERS = {"basic": (), "submitit_local": TWO_JOBS, "joblib": ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")}
# Trials wait for a file of their x (`go-all` for all), so that the tests say when they end.
APP = """
import time
from pathlib import Path
import hydra


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg):
    marks = Path(cfg.marks)
    marks.mkdir(exist_ok=True)
    attempt = len(list(marks.glob(f"{cfg.x}-*")))
    (marks / f"{cfg.x}-{attempt}").write_text("")
    print(f"x={cfg.x} begins")
    while not (Path(f"go-{cfg.x}").exists() or Path("go-all").exists()):
        time.sleep(0.02)
    if Path(f"fail-{cfg.x}").exists():
        raise ValueError(f"x={cfg.x} is no good")
    return float(cfg.x)


if __name__ == "__main__":
    main()
"""


@pytest.fixture
def gated(project: Project) -> Project:
    """The project with the app above."""
    (project.directory / "app.py").write_text(APP)
    return project


def command(project: Project, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """`hydra-sweep ARGUMENTS` in the project's directory."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("hydra-sweep")), *arguments],
        cwd=project.directory, env=project.env, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
    return done


def answer(project: Project, *arguments: str) -> Any:
    """What the command answers as JSON."""
    return json.loads(command(project, *arguments, "--json").stdout)


def go(project: Project, *names: object) -> None:
    for name in names:
        (project.directory / f"go-{name}").touch()


def begun(project: Project, count: int) -> None:
    wait_for(lambda: len(list((project.directory / "marks").glob("*"))) == count, f"{count} trials have begun")


def number_of(directory: Path, x: int) -> int:
    """The number of the trial that has begun with x: agents that claim at the same moment number in any order."""
    overrides = {path.parents[1].name: path.read_text() for path in directory.glob("*/.hydra/overrides.yaml")}
    (number,) = (int(name) for name, text in overrides.items() if text == f"- x={x}\n")
    return number


def results(directory: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((directory / "optimization_results.yaml").read_text())
    return loaded


def finished(directory: Path) -> list[int]:
    return sorted(e["trial"] for e in events(directory) if e["event"] == "ended" and e["state"] == "finished")


# --- named by the URL of its page ---


def test_a_url_names_its_server_in_every_directory_and_with_any_login(project: Project, tmp_path: Path) -> None:
    sweep = project.sweep("x=1,2")
    url = sweep.results["sweep_url"]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with_key = project.env | {"WANDB_API_KEY": "0" * 40}  # of W&B's cloud, which isn't to be asked
    for place, env in (
        (project.directory, project.env),
        (project.directory, with_key),
        (elsewhere, project.env | {"WANDB_API_KEY": project.server().api_key}),
    ):
        there = Project(place, env)
        assert answer(there, "status", url)["best_value"] == 1.25
        assert len(json.loads(command(there, "export", url, "--format", "json").stdout)) == 2
    refused = command(Project(elsewhere, project.env), "status", url, check=False)
    assert refused.returncode == 1
    assert f"is at {project.server().url}, for which there is no login" in refused.stderr
    assert list(elsewhere.iterdir()) == []
    cloud = command(project, "report", "https://wandb.ai/foo/bar/sweeps/abc", check=False)
    assert "is at https://api.wandb.ai, for which there is no login" in cloud.stderr


# --- Ctrl-C ---


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_ctrl_c_lets_running_trials_finish_and_attach_goes_on_with_the_rest(gated: Project, launcher: str) -> None:
    process, directory = gated.start("x=1,2,3,4", *LAUNCHERS[launcher])
    running = 1 if launcher == "basic" else 2
    begun(gated, running)
    process.send_signal(signal.SIGINT)
    log = directory / "supervisor.log"
    wait_for(lambda: "no more trials begin" in log.read_text(), "the message")
    go(gated, "all")
    assert process.wait(timeout=60) == 130, log.read_text()
    assert results(directory)["trials"]["finished"] == running
    assert len(gated.marks()) == running
    assert re.search(r"Interrupted: no more trials begin, and [0-9]+ running one\(s\) may finish\.", log.read_text())
    assert f"hydra-sweep attach {directory}" in log.read_text()
    assert answer(gated, "status", str(directory))["state"] == "idle"
    attached = answer(gated, "attach", str(directory))
    assert attached["state"] == "finished"
    assert finished(directory) == [0, 1, 2, 3]
    assert len(gated.marks()) == 4
    assert {run["state"] for run in gated.runs()} == {"finished"}
    assert len(gated.runs()) == 4


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_second_ctrl_c_stops_the_trials_and_attach_resumes_them(gated: Project, launcher: str) -> None:
    process, directory = gated.start("x=1,2,3", *LAUNCHERS[launcher])
    running = 1 if launcher == "basic" else 2
    begun(gated, running)
    log = directory / "supervisor.log"
    process.send_signal(signal.SIGINT)
    wait_for(lambda: "no more trials begin" in log.read_text(), "the message")
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130, log.read_text()
    assert f"Stopped. To go on where it was: hydra-sweep attach {directory}" in log.read_text()
    agents = [e["pid"] for e in events(directory) if e["event"] == "agent_started"]
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in agents), "the agents are gone")
    assert results(directory)["trials"]["finished"] == 0
    before = {run["id"] for run in gated.runs()}
    go(gated, "all")
    command(gated, "attach", str(directory))
    assert finished(directory) == [0, 1, 2]
    assert len(gated.marks()) == 3 + running
    runs = gated.runs()
    assert len(runs) == 3
    assert before <= {run["id"] for run in runs}
    assert {run["state"] for run in runs} == {"finished"}


def test_a_supervisor_that_is_told_to_end_leaves_its_agents_and_says_how_to_come_back(gated: Project) -> None:
    process, directory = gated.start("x=1,2,3", *TWO_JOBS)
    begun(gated, 2)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 128 + signal.SIGTERM
    log = (directory / "supervisor.log").read_text()
    assert f"hydra-sweep attach {directory}" in log
    assert "2 job(s) go on" in log
    shown = answer(gated, "status", str(directory))
    assert (shown["state"], shown["supervisor"]) == ("running", None)
    # Agents are listed in the order in which they began, and either may claim first.
    agents = sorted((agent["trial"], agent["job_state"]) for agent in shown["agents"])
    assert agents == [(0, "RUNNING"), (1, "RUNNING")]
    go(gated, "all")
    assert answer(gated, "attach", str(directory))["trials"]["finished"] == 3
    assert len(gated.marks()) == 3


def test_a_supervisor_that_was_killed_is_replaced_by_attach(gated: Project) -> None:
    process, directory = gated.start("x=1,2,3,4", *TWO_JOBS)
    begun(gated, 2)
    process.kill()
    process.wait()
    agent = next(e for e in events(directory) if e["event"] == "agent_started")
    os.kill(agent["pid"], signal.SIGKILL)
    go(gated, "all")
    # The dead one's last sign of life is still fresh: attach follows until it isn't, as it can't know better.
    (directory / ".sweep" / "supervisor.json").unlink()
    assert answer(gated, "attach", str(directory))["trials"]["finished"] == 4
    assert finished(directory) == [0, 1, 2, 3]
    assert {run["state"] for run in gated.runs()} == {"finished"}


def test_attach_refuses_where_agents_of_a_dead_supervisor_still_run(gated: Project) -> None:
    process, directory = gated.start("x=1,2", "hydra.sweeper.agents=2", "hydra.sweeper.agents_per_job=2")
    begun(gated, 2)
    (directory / ".sweep" / "supervisor.json").unlink()
    refused = command(gated, "attach", str(directory), check=False)
    assert refused.returncode == 1
    assert "still runs, as process" in refused.stderr
    go(gated, "all")
    assert process.wait(timeout=60) == 0


def test_a_second_supervisor_follows_the_first(gated: Project) -> None:
    process, directory = gated.start("x=1,2,3", *TWO_JOBS)
    begun(gated, 2)
    second = subprocess.Popen(
        [str(Path(sys.executable).with_name("hydra-sweep")), "attach", str(directory)],
        cwd=gated.directory, env=gated.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    gated.started.append(second)
    assert second.stdout is not None
    assert "following it" in second.stdout.readline()
    go(gated, "all")
    assert process.wait(timeout=60) == 0
    said, _ = second.communicate(timeout=60)
    assert second.returncode == 0
    assert "trial 2 finished" in said
    assert "3 finished" in said
    assert len(gated.marks()) == 3


# --- steering ---


def test_status_says_what_runs_what_is_best_and_what_has_failed(gated: Project) -> None:
    (gated.directory / "fail-2").touch()
    process, directory = gated.start("x=1,2,3", *TWO_JOBS, "hydra.sweeper.max_retries=0")
    begun(gated, 2)
    go(gated, 1, 2)
    begun(gated, 3)
    wait_for(lambda: len([e for e in events(directory) if e["event"] == "ended"]) == 2, "two have ended")
    best, failed = number_of(directory, 1), number_of(directory, 2)
    shown = answer(gated, "status", str(directory))
    assert (shown["state"], shown["expected"], shown["trials"]["running"]) == ("running", 3, 1)
    assert (shown["best_value"], shown["best_trial"], shown["best_overrides"]) == (1.0, best, ["x=1"])
    (failure,) = shown["failures"]
    assert (failure["trial"], failure["error"]) == (failed, "ValueError: x=2 is no good")
    assert failure["log"] == str(directory / str(failed) / "trial.log")
    assert "ValueError: x=2 is no good" in failure["last_line"]
    text = command(gated, "status", str(directory)).stdout
    for words in ("Trials of 3: 1 finished, 1 failed, 1 running", f"Best objective: 1 (trial {best}: x=1)",
                  "trial 2 for", "RUNNING", "ValueError: x=2 is no good"):  # fmt: skip
        assert words in text
    go(gated, 3)
    assert process.wait(timeout=60) == 0
    assert answer(gated, "status", str(directory))["state"] == "finished"
    path = shown["sweep"]
    by_server = json.loads(command(gated, "status", path, "--server", "local", "--json").stdout)
    assert by_server["trials"] == {"finished": 2, "failed": 1}
    assert (by_server["best_value"], by_server["best_overrides"]) == (1.0, ["x=1"])


def test_no_trial_begins_in_a_paused_sweep(gated: Project) -> None:
    process, directory = gated.start("x=1,2,3", *TWO_JOBS)
    begun(gated, 2)
    command(gated, "pause", str(directory))
    assert answer(gated, "status", str(directory))["state"] == "paused"
    path = answer(gated, "status", str(directory))["sweep"]
    assert json.loads(command(gated, "status", path, "--server", "local", "--json").stdout)["state"] == "paused"
    go(gated, "all")
    wait_for(lambda: finished(directory) == [0, 1], "the running ones have finished")
    (gated.directory / "fail-3").touch()  # would show that it was run
    assert len(gated.marks()) == 2
    (gated.directory / "fail-3").unlink()
    command(gated, "resume", str(directory))
    assert process.wait(timeout=60) == 0
    assert finished(directory) == [0, 1, 2]


def test_a_drained_agent_ends_after_its_trial_and_is_not_replaced(gated: Project) -> None:
    process, directory = gated.start("x=1,2,3,4", *TWO_JOBS)
    begun(gated, 2)
    drained = number_of(directory, 1)
    first = next(e["by"] for e in events(directory) if e["event"] == "claimed" and e["trial"] == drained)
    assert answer(gated, "drain", str(directory), first) == {"agents": [first]}
    go(gated, 1)
    wait_for(lambda: first in {e["by"] for e in events(directory) if e["event"] == "agent_ended"}, "it has ended")
    go(gated, "all")
    assert process.wait(timeout=60) == 0
    assert finished(directory) == [0, 1, 2, 3]
    assert [e["trial"] for e in events(directory) if e["event"] == "claimed" and e["by"] == first] == [drained]
    assert len({e["by"] for e in events(directory) if e["event"] == "agent_started"}) == 2
    unknown = command(gated, "drain", str(directory), "agent-7", check=False)
    assert unknown.returncode == 1
    assert "'agent-7' is neither an agent that works nor the id of a job" in unknown.stderr


def test_agents_can_be_added_to_a_sweep_that_runs(gated: Project) -> None:
    process, directory = gated.start("x=1,2,3,4", *TWO_JOBS)
    begun(gated, 2)
    added = answer(gated, "agents", str(directory), "--add", "2")
    assert len(added["jobs"]) == 2
    begun(gated, 4)
    assert "trial 3 for" in command(gated, "agents", str(directory)).stdout
    go(gated, "all")
    assert process.wait(timeout=60) == 0
    assert finished(directory) == [0, 1, 2, 3]
    assert {e["by"] for e in events(directory) if e["event"] == "claimed"} == {f"agent-{i}" for i in range(4)}
    log = (directory / "supervisor.log").read_text()
    assert "4 finished" in log
    assert "died" not in log


def test_cancel_stops_trials_for_good(gated: Project) -> None:
    process, directory = gated.start("x=1,2,3", *TWO_JOBS)
    begun(gated, 2)
    command(gated, "cancel", str(directory))
    assert process.wait(timeout=60) == 1
    assert "it was cancelled" in (directory / "supervisor.log").read_text()
    ended = [event for event in events(directory) if event["event"] == "ended"]
    assert [event["error"] for event in ended] == ["stopped by its user"] * 2
    assert results(directory)["trials"] == {"finished": 0, "failed": 0, "stopped": 2, "running": 0, "queued": 0}
    assert len(gated.marks()) == 2
    refused = command(gated, "attach", str(directory), check=False)
    assert refused.returncode == 1
    assert "was cancelled" in refused.stderr


def test_failed_trials_are_retried_under_their_run_ids_when_the_sweep_has_ended(gated: Project) -> None:
    for x in (1, 3):
        (gated.directory / f"fail-{x}").touch()
    go(gated, "all")
    process, directory = gated.start("x=1,2,3", "hydra.sweeper.max_retries=0", "hydra.sweeper.max_failure_rate=1")
    assert process.wait(timeout=60) == 0
    before = {run["id"]: run["state"] for run in gated.runs()}
    assert sorted(before.values()) == ["failed", "failed", "finished"]
    (gated.directory / "fail-1").unlink()
    command(gated, "retry", str(directory), "--trial", "0")
    assert answer(gated, "status", str(directory))["trials"]["failed"] == 1
    (gated.directory / "fail-3").unlink()
    shown = answer(gated, "retry", str(directory))
    assert shown["trials"] == {"finished": 3, "failed": 0, "stopped": 0, "running": 0, "queued": 0}
    assert {run["id"]: run["state"] for run in gated.runs()} == dict.fromkeys(before, "finished")
    assert list(gated.marks()) == ["1-0", "1-1", "2-0", "3-0", "3-1"]
    refused = command(gated, "retry", str(directory), "--trial", "1", check=False)
    assert "Trial 1 is finished" in refused.stderr


def test_a_sweep_that_was_stopped_by_its_failures_can_be_retried(gated: Project) -> None:
    go(gated, "all")
    for x in (1, 2):
        (gated.directory / f"fail-{x}").touch()
    rules = ("hydra.sweeper.max_retries=0", "hydra.sweeper.max_failure_rate=0.5")
    process, directory = gated.start("x=1,2,3", *rules)
    assert process.wait(timeout=60) == 1
    assert answer(gated, "status", str(directory))["state"] == "stopped"
    for x in (1, 2):
        (gated.directory / f"fail-{x}").unlink()
    assert answer(gated, "retry", str(directory))["trials"]["finished"] == 2


def test_serve_runs_the_project_s_server_until_it_is_told_to_end(project: Project) -> None:
    with open(project.directory / "serve.log", "w") as log:
        server = subprocess.Popen(
            [str(Path(sys.executable).with_name("hydra-sweep")), "serve"],
            cwd=project.directory, env=project.env, stdout=log, stderr=log, preexec_fn=heed_terminal,
        )  # fmt: skip
    address = wait_for(lambda: read_address(project.directory / ".wandb_sweep_server"), "the server answers")
    assert address.pid == server.pid
    sweep = project.sweep("x=1,2", "hydra.sweeper.server=local")
    assert sweep.results["sweep_url"].startswith(address.url)
    server.send_signal(signal.SIGINT)
    assert server.wait(timeout=30) in (0, 130, -signal.SIGINT)
    assert read_address(address.directory) is None


# --- refusals ---


def test_a_retried_trial_runs_the_script_as_it_was_and_its_modules_as_they_are(project: Project) -> None:
    module, script = project.directory / "mended.py", project.directory / "app.py"
    module.write_text("def value(x):\n    raise ValueError('the module is no good')\n")
    script.write_text(
        "import hydra\nimport mended\n\n\n@hydra.main(version_base='1.3', config_path='conf', config_name='config')\n"
        "def main(cfg):\n    return mended.value(cfg.x)\n\n\nif __name__ == '__main__':\n    main()\n"
    )
    sweep = project.sweep("x=1,2", "hydra.sweeper.max_retries=0", check=False)
    assert sweep.results["trials"]["failed"] == 2
    module.write_text("def value(x):\n    return float(x)\n")
    script.write_text(script.read_text().replace("return", "raise ValueError('the script is no good'); return"))
    assert answer(project, "retry", str(sweep.directory))["trials"]["finished"] == 2


@pytest.mark.parametrize("name", ["status", "attach", "agents", "retry", "pause", "cancel"])
def test_a_directory_without_a_sweep_is_refused_with_what_to_name_instead(project: Project, name: str) -> None:
    refused = command(project, name, ".", check=False)
    assert refused.returncode == 1
    assert "is not a sweep's directory: it has no .sweep/sweep.json." in refused.stderr
    assert "hydra.sweep.dir" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_what_another_user_could_have_written_is_not_loaded(gated: Project) -> None:
    go(gated, "all")
    process, directory = gated.start("x=1,2")
    assert process.wait(timeout=60) == 0
    stored = directory / ".sweep" / "submission.pkl"
    assert stored.stat().st_mode & 0o777 == 0o600
    stored.chmod(0o620)
    refused = command(gated, "attach", str(directory), check=False)
    assert refused.returncode == 1
    assert "others may write to it" in refused.stderr
    command(gated, "status", str(directory))
