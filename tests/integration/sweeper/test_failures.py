"""Trials, agents and servers that die: what is run again, what is counted, what is recorded where."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.sweeper.conftest import Project
from tests.waiting import wait_for

SLURM_LIKE = ("hydra/launcher=submitit_local", "hydra.sweeper.agents=2")


def events(directory: Path) -> list[dict[str, Any]]:
    files = (directory / ".sweep" / "events").glob("*.jsonl")
    lines = [json.loads(line) for path in files for line in path.read_text().splitlines()]
    return sorted(lines, key=lambda event: float(event["time"]))


@pytest.mark.parametrize(
    ("behave", "word"),
    [("raise", "ValueError: x=1 is no good"), ("exit", "sys.exit(3)"), ("segfault", "SIGSEGV"), ("kill", "SIGKILL")],
)
def test_a_failed_trial_is_run_again_under_the_same_run_id_and_number(
    project: Project, behave: str, word: str
) -> None:
    sweep = project.sweep("x=1,2", f"behave={behave}", "only=1", "times=1")
    marks = project.marks()
    assert list(marks) == ["1-0", "1-1", "2-0"]
    assert marks["1-0"] == marks["1-1"]
    assert [(row["number"], row["state"], row["attempts"]) for row in sweep.trials] == [
        ("0", "finished", "2"),
        ("1", "finished", "1"),
    ]
    ends = [e for e in events(sweep.directory) if e["event"] == "ended" and e["state"] == "failed"]
    assert len(ends) == 1
    assert word in ends[0]["error"]
    assert {run["state"] for run in project.runs()} == {"finished"}
    assert {run["summary"].get("trial_error") for run in project.runs()} == {None}


@pytest.mark.parametrize(("behave", "word"), [("raise", "x=1 is no good"), ("segfault", "SIGSEGV")])
def test_a_trial_that_fails_for_good_is_recorded_and_the_sweep_goes_on(
    project: Project, behave: str, word: str
) -> None:
    sweep = project.sweep("x=1,2,3", f"behave={behave}", "only=1")
    assert sweep.results["trials"]["failed"] == 1
    assert sweep.results["trials"]["finished"] == 2
    assert sweep.results["best_value"] == 2.25
    row = sweep.trials[0]
    assert (row["state"], row["attempts"]) == ("failed", "2")
    assert word in row["error"]
    said = [line for line in sweep.output.splitlines() if " failed: " in line]
    assert ["; retry 1 of 1 follows" in line for line in said] == [True, False]
    run = next(run for run in project.runs() if run["config"]["x"] == 1)
    assert run["state"] == "failed"
    assert word in run["summary"]["trial_error"]
    log = Path(row["directory"]) / "trial.log"
    assert "trial of x=1 says hello" in log.read_text()
    assert f"(its log: {log})" in sweep.output
    assert f"({log})" in sweep.output.partition("1 trial(s) failed; the last:")[2]
    assert f"To run them again: hydra-sweep retry {sweep.directory}" in sweep.output
    places = [sweep.directory / ".sweep" / "results" / f"000000.{attempt}.dir" for attempt in (0, 1)]
    assert [str(place.readlink()) for place in places] == [row["directory"]] * 2


def test_too_many_failures_end_the_sweep_and_the_exit_status_says_so(project: Project) -> None:
    sweep = project.sweep(
        "x=1,2,3,4,5,6", "behave=raise", "hydra.sweeper.max_retries=0", "hydra.sweeper.max_failure_rate=0.3",
        check=False,
    )  # fmt: skip
    assert sweep.process.returncode == 1
    assert "The sweep failed: 2 of 6 trials failed (hydra.sweeper.max_failure_rate=0.3)" in sweep.output
    assert sweep.results["trials"]["failed"] == 2
    assert f"To run again what failed, once the cause is mended: hydra-sweep retry {sweep.directory}" in sweep.output
    assert len(project.marks()) == 2


def test_an_agent_with_nothing_but_failures_gives_up_and_says_so(project: Project) -> None:
    sweep = project.sweep(
        "x=1,2,3,4,5,6", "behave=raise", "hydra.sweeper.max_retries=0", "hydra.sweeper.max_failure_rate=1.0",
        "hydra.sweeper.max_consecutive_failures=2", check=False,
    )  # fmt: skip
    assert sweep.process.returncode == 1
    assert "2 trials failed one after another" in sweep.output


def test_a_killed_agent_s_trial_is_taken_over_and_every_configuration_ends_once(project: Project) -> None:
    values = ",".join(map(str, range(1, 25)))
    process, directory = project.start(f"x={values}", *SLURM_LIKE, "behave=hang", "only=5", "times=1")

    def hanging() -> Any:
        claims = [e for e in events(directory) if e["event"] == "claimed" and e["args"].get("x") == 5]
        return (project.directory / "marks" / "5-0").exists() and claims

    (claim,) = wait_for(hanging, "the trial that hangs is running")
    agent = next(e for e in events(directory) if e["event"] == "agent_started" and e["by"] == claim["by"])
    os.kill(agent["pid"], signal.SIGKILL)
    assert process.wait(timeout=180) == 0, (directory / "supervisor.log").read_text()
    results = yaml.safe_load((directory / "optimization_results.yaml").read_text())
    assert results["trials"]["finished"] == 24
    finished = [e["trial"] for e in events(directory) if e["event"] == "ended" and e["state"] == "finished"]
    assert sorted(finished) == list(range(24))
    marks = project.marks()
    assert len(marks) == 25
    assert marks["5-0"] == marks["5-1"]
    assert {run["state"] for run in project.runs()} == {"finished"}
    assert len(project.runs()) == 24


def test_a_sweep_that_is_cancelled_on_the_server_stops_its_trials(project: Project) -> None:
    process, directory = project.start("x=1,2,3", "behave=hang")
    wait_for(lambda: (project.directory / "marks" / "1-0").exists(), "the first trial runs")
    path = json.loads((directory / ".sweep" / "sweep.json").read_text())["sweep"]
    subprocess.run(
        [sys.executable, "-m", "wandb", "sweep", "--cancel", "/".join(path.values())],
        cwd=project.directory, env=project.wandb_env(), check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    process.wait(timeout=90)
    results = yaml.safe_load((directory / "optimization_results.yaml").read_text())
    assert results["trials"]["stopped"] == 1
    assert results["trials"]["finished"] == 0
    assert list(project.marks()) == ["1-0"]
    assert [run["state"] for run in project.runs()] == ["killed"]


def test_the_sweep_survives_a_server_that_is_killed_and_started_again(project: Project) -> None:
    process, directory = project.start("x=1,2,3", "behave=hang", "only=1", "times=1")
    wait_for(lambda: (project.directory / "marks" / "1-0").exists(), "the first trial runs")
    address = project.server()
    os.kill(address.pid, signal.SIGKILL)
    project.python_without_server(
        "from pathlib import Path\n"
        "from wandb_sweep_server.launch import ensure_running\n"
        f"print(ensure_running(Path({str(address.directory)!r})).url)"
    )
    # Now the trial that hangs is ended from outside; the agent goes on with the new server.
    os.kill(int((project.directory / "trial.pid").read_text()), signal.SIGKILL)
    assert process.wait(timeout=120) == 0, (directory / "supervisor.log").read_text()
    results = yaml.safe_load((directory / "optimization_results.yaml").read_text())
    assert results["trials"]["finished"] == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_sweep_whose_agent_is_in_the_user_s_own_process(
    project: Project, number: signal.Signals
) -> None:
    process, directory = project.start("x=1,2,3", "behave=hang", "only=2")
    wait_for(lambda: (project.directory / "marks" / "2-0").exists(), "the trial that hangs runs")
    process.send_signal(number)
    assert process.wait(timeout=60) != 0
    results = yaml.safe_load((directory / "optimization_results.yaml").read_text())
    assert results["trials"]["finished"] == 1
    assert list(project.marks()) == ["1-0", "2-0"]
