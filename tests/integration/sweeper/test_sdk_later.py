"""Runs that begin without W&B's SDK: what becomes of those that last, are interrupted, or turn to W&B themselves."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.integration.server.client import Client
from tests.integration.sweeper.conftest import Project
from tests.waiting import wait_for

RUNS = """
query R { project(name: "app") { runs(order: "+created_at") { edges { node {
  name state exitcode historyLineCount eventsLineCount config summaryMetrics
  history streamLines(stream: "log", offset: 0, first: 10000) { number text }
  files { edges { node { name directUrl } } }
} } } } }
"""
APP = (
    """
import os, sys, time
from pathlib import Path
import hydra


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg):
    wait_until = {BEHAVIOURS}[cfg.behave]
    number = 0
    print("first line")
    while not wait_until():
        number += 1
        print(f"line {{number}}", file=sys.stderr if number % 2 else sys.stdout)
        time.sleep(0.02)
    print(f"numbers: {{number}}")
    return float(number)


def sdk_is_there():
    import threading
    return "wandb" in sys.modules and getattr(sys.modules["wandb"], "run", None) is not None


def released():
    return Path("released").exists()


def open_by_itself():
    import helper
    return helper.log()


if __name__ == "__main__":
    main()
""".replace("{BEHAVIOURS}", '{"sdk": sdk_is_there, "release": released, "helper": open_by_itself}')
    .replace("{{", "{")
    .replace("}}", "}")
)
HELPER = """
import wandb


def log():
    run = wandb.init()
    print("lr is", run.config["lr"], "and x is", run.config["x"])
    run.log({"own": 1})
    return True
"""


@pytest.fixture
def app(project: Project) -> Project:
    (project.directory / "app.py").write_text(APP)
    (project.directory / "helper.py").write_text(HELPER)
    return project


def runs(project: Project) -> list[dict[str, Any]]:
    """All runs, oldest first, with the texts of their log and the contents of their files."""
    client = Client(project.server())
    found = [edge["node"] for edge in client.graphql(RUNS)["project"]["runs"]["edges"]]
    for run in found:
        numbers = [line["number"] for line in run["streamLines"]]
        assert numbers == list(range(len(numbers)))
        run["log"] = [re.sub(r"^(ERROR )?[0-9T:.-]{26} ", "", line["text"]) for line in run["streamLines"]]
        places = {edge["node"]["name"]: edge["node"]["directUrl"] for edge in run["files"]["edges"]}
        run["files"] = {n: client.session.get(url, timeout=60).text for n, url in places.items()}
    return found


def wait_for_task(directory: Path) -> None:
    """Until the first trial's task runs."""
    log = directory / "0" / "trial.log"
    wait_for(lambda: log.exists() and "line 1" in log.read_text(), "the first trial runs")


def lines(count: int) -> list[str]:
    return ["first line", *(f"line {n + 1}" for n in range(count)), f"numbers: {count}"]


@pytest.mark.parametrize("isolation", ["fork", "spawn", "none"])
def test_a_run_that_lasts_gets_the_sdk_and_loses_no_line_of_its_log(app: Project, isolation: str) -> None:
    sweep = app.sweep("x=1,2", "behave=sdk", "hydra.sweeper.sdk_after_s=0.3", f"hydra.sweeper.isolation={isolation}")
    assert len(list(sweep.directory.glob("*/wandb/run-*"))) == 2
    for run in runs(app):
        assert (run["state"], run["exitcode"], run["historyLineCount"]) == ("finished", 0, 1)
        assert run["eventsLineCount"] > 0
        count = int(re.search(r"numbers: (\d+)", run["files"]["output.log"])[1])  # type: ignore[index]
        assert sorted(run["log"]) == sorted(lines(count))
        assert run["files"]["output.log"].splitlines() == run["log"]
        assert set(run["files"]) >= {"config.yaml", "wandb-metadata.json", "wandb-summary.json", "requirements.txt"}
    if isolation != "none":
        # W&B's own words are none of the task's.
        assert "wandb:" not in "".join(path.read_text() for path in sweep.directory.glob("*/trial.log"))


@pytest.mark.parametrize("isolation", ["fork", "none"])
def test_a_library_that_opens_the_run_gets_the_trial_s(app: Project, isolation: str) -> None:
    sweep = app.sweep("x=1,2", "lr=0.5", "behave=helper", f"hydra.sweeper.isolation={isolation}")
    found = runs(app)
    assert [run["name"] for run in found] == [row["run_id"] for row in sweep.trials]
    for x, run in enumerate(found, 1):
        assert (run["state"], run["log"][0]) == ("finished", f"lr is 0.5 and x is {x}")
        assert '"own":1' in run["summaryMetrics"]
        assert '"objective":0' in run["summaryMetrics"]


def test_a_trial_that_has_to_make_room_is_preempted_on_the_server_too(app: Project) -> None:
    process, directory = app.start("x=1,2", "behave=release")
    wait_for_task(directory)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) != 0
    (run,) = runs(app)
    assert (run["state"], run["exitcode"]) == ("preempted", 75)
    assert run["log"][0] == "first line"
    assert "interrupted to make room" in run["summaryMetrics"]


def test_a_server_that_is_away_when_a_task_ends_hears_of_it_when_it_is_back(app: Project) -> None:
    process, directory = app.start("x=1", "behave=release")
    wait_for_task(directory)
    address = app.server()
    os.kill(address.pid, signal.SIGKILL)
    (app.directory / "released").touch()
    log = directory / "0" / "trial.log"
    wait_for(lambda: "numbers:" in log.read_text(), "the task has ended")
    app.python_without_server(
        "from pathlib import Path\n"
        "from wandb_sweep_server.launch import ensure_running\n"
        f"ensure_running(Path({str(address.directory)!r}))"
    )
    assert process.wait(timeout=120) == 0, (directory / "supervisor.log").read_text()
    (run,) = runs(app)
    assert run["state"] == "finished"
    assert run["files"]["output.log"].splitlines() == run["log"]


def test_a_server_that_stays_away_makes_the_trial_fail(app: Project) -> None:
    process, directory = app.start("x=1", "behave=release", "hydra.sweeper.server_patience_min=0.02")
    wait_for_task(directory)
    os.kill(app.server().pid, signal.SIGKILL)
    (app.directory / "released").touch()
    assert process.wait(timeout=120) != 0
    assert "No usable answer from" in (directory / "0" / "trial.log").read_text()


def test_settings_that_only_the_sdk_knows_have_it_record_from_the_start(app: Project) -> None:
    (app.directory / "released").touch()
    sweep = app.sweep("x=1", "behave=release", WANDB_CONSOLE="off")
    assert len(list(sweep.directory.glob("*/wandb/run-*"))) == 1
    (run,) = runs(app)
    assert run["log"] == []
