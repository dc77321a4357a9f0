"""The page of a real sweep: its buttons and what the sweep's own agents make of them; and the way to it."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import requests

from hydra_plugins.hydra_wandb_sweeper._ledger import Ledger
from hydra_plugins.hydra_wandb_sweeper._report_data import ledger_data
from tests.integration.sweeper.conftest import Project, heed_terminal
from tests.integration.sweeper.test_command import APP, begun, command, finished, go, results
from tests.integration.sweeper.test_failures import events
from tests.waiting import wait_for

TWO_AGENTS = ("hydra/launcher=submitit_local", "hydra.sweeper.agents=2")


@pytest.fixture
def gated(project: Project) -> Project:
    """A project whose trials wait for a file of their x."""
    (project.directory / "app.py").write_text(APP)
    return project


class Page:
    """A browser at the page of a directory's sweep, let in by `hydra-sweep open`."""

    def __init__(self, project: Project, directory: Path) -> None:
        link = command(project, "open", str(directory), "--no-browser").stdout.strip()
        self._session = requests.Session()
        self._session.trust_env = False
        page = self._session.get(link, timeout=60)
        assert page.status_code == 200, page.text
        refresh = re.search(r'content="0; url=([^"]+)"', page.text)
        assert refresh is not None
        self._url = link.partition("/page/login")[0]
        shell = self._session.get(self._url + refresh[1], timeout=60)
        assert shell.status_code == 200
        token = re.search(r'name="csrf-token" content="([^"]+)"', shell.text)
        assert token is not None
        self._headers = {"X-CSRF-Token": token[1], "Origin": self._url}
        self._data = f"{self._url}/page/data{refresh[1]}"

    def data(self) -> dict[str, Any]:
        answer: dict[str, Any] = self._session.get(self._data, timeout=60).json()
        return answer

    def press(self, action: str, **body: Any) -> dict[str, Any]:
        answer = self._session.post(f"{self._data}/{action}", json=body, headers=self._headers, timeout=60)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def states(self) -> list[str]:
        return list(self.data()["runs"]["state"])


def test_a_page_shows_what_the_sweep_did(gated: Project) -> None:
    go(gated, "all")
    (gated.directory / "fail-2").touch()
    swept = gated.sweep("x=1,2,3", "model=small,wide", "hydra.sweeper.max_retries=0")
    data = Page(gated, swept.directory).data()
    rows = {trial["run_id"]: trial for trial in swept.trials}
    runs = data["runs"]
    assert set(runs["id"]) == set(rows)
    assert [parameter["name"] for parameter in data["parameters"]] == ["x", "model"]
    for at, name in enumerate(runs["id"]):
        assert runs["state"][at] == rows[name]["state"]
        assert str(runs["parameters"]["x"][at]) == rows[name]["x"]
        assert ("is no good" in (runs["reason"][at] or "")) == (rows[name]["state"] == "failed")
    assert data["sweep"]["expected"] == 6
    assert [(agent["name"], agent["ended"]) for agent in data["agents"]] == [("agent-0", "finished")]
    assert set(runs["agent"]) == {"agent-0"}
    assert sorted(trial["run"] for trial in data["agents"][0]["trials"]) == sorted(rows)


def test_an_agent_s_death_is_seen_on_the_page_and_in_the_report(gated: Project) -> None:
    process, directory = gated.start("x=1,2,3,4", *TWO_AGENTS)
    begun(gated, 2)
    killed = next(event for event in events(directory) if event["event"] == "agent_started")
    os.kill(killed["pid"], signal.SIGKILL)
    go(gated, "all")
    assert process.wait(timeout=120) == 0
    page = Page(gated, directory).data()
    report = ledger_data(Ledger.open(directory, "reader"), now=time.time())
    for data in (page, report):
        (lost,) = [agent for agent in data["agents"] if agent["ended"] == "died"]
        assert [trial["how"] for trial in lost["trials"]] == ["lost"]
        others = [agent for agent in data["agents"] if agent is not lost]
        assert {agent["ended"] for agent in others} == {"finished"}
        assert [trial["how"] for agent in others for trial in agent["trials"]] == ["finished"] * 4
        assert data["runs"]["state"] == ["finished"] * 4


def test_agents_that_leave_a_sweep_unfinished_are_gone_at_once(gated: Project) -> None:
    process, directory = gated.start(
        "x=1,2,3", "hydra.sweeper.trials_per_agent=1", "hydra.sweeper.max_agent_restarts=0"
    )
    go(gated, "all")
    process.wait(timeout=120)
    agents = Page(gated, directory).data()["agents"]
    assert {agent["ended"] for agent in agents} == {"finished"}


def test_agents_heed_pause_resume_and_stop(gated: Project) -> None:
    process, directory = gated.start("x=1,2,3,4", *TWO_AGENTS)
    begun(gated, 2)
    page = Page(gated, directory)
    assert page.press("pause") == {"state": "PAUSED"}
    go(gated, 1)
    wait_for(lambda: page.states().count("finished") == 1, "the first trial has ended")
    go(gated, 2)
    wait_for(lambda: page.states() == ["finished", "finished"], "both trials have ended, and none has begun")
    assert page.press("resume") == {"state": "RUNNING"}
    begun(gated, 4)
    assert page.press("stop") == {"state": "FINISHED"}
    go(gated, "all")
    assert process.wait(timeout=120) == 0, (directory / "supervisor.log").read_text()
    assert finished(directory) == [0, 1, 2, 3]


def test_no_trial_begins_after_a_stop_of_the_page(gated: Project) -> None:
    process, directory = gated.start("x=1,2,3,4", *TWO_AGENTS)
    begun(gated, 2)
    Page(gated, directory).press("stop")
    go(gated, "all")
    assert process.wait(timeout=120) == 0, (directory / "supervisor.log").read_text()
    assert len(gated.marks()) == 2
    assert results(directory)["trials"]["finished"] == 2


def test_running_trials_are_stopped_by_a_cancel_of_the_page(gated: Project) -> None:
    process, directory = gated.start("x=1,2,3,4", *TWO_AGENTS)
    begun(gated, 2)
    page = Page(gated, directory)
    assert page.press("cancel") == {"state": "CANCELED"}
    process.wait(timeout=120)
    assert page.states() == ["killed", "killed"]
    assert len(gated.marks()) == 2


def test_a_failed_trial_is_run_again_by_agents_that_work(gated: Project) -> None:
    fails = gated.directory / "fail-1"
    fails.touch()
    process, directory = gated.start("x=1,2", *TWO_AGENTS, "hydra.sweeper.max_retries=0")
    begun(gated, 2)
    page = Page(gated, directory)
    go(gated, 1)
    wait_for(lambda: "failed" in page.states(), "the first trial has failed")
    fails.unlink()
    runs = page.data()["runs"]
    failed = runs["id"][runs["state"].index("failed")]
    assert page.press("retry", runs=[failed]) == {"runs": 1}
    go(gated, 2)
    assert process.wait(timeout=120) == 0, (directory / "supervisor.log").read_text()
    assert results(directory)["trials"]["finished"] == 2
    trials = [trial for agent in page.data()["agents"] for trial in agent["trials"] if trial["run"] == failed]
    assert sorted(trial["how"] for trial in trials) == ["failed", "finished"]


def test_where_agents_have_left_the_page_says_what_brings_them_and_that_does(gated: Project) -> None:
    fails = gated.directory / "fail-1"
    fails.touch()
    go(gated, "all")
    swept = gated.sweep("x=1,2", "hydra.sweeper.max_retries=0", check=False)
    fails.unlink()
    page = Page(gated, swept.directory)
    answer = page.press("retry")
    assert answer["runs"] == 1
    assert "`hydra-sweep retry DIR`" in answer["message"]
    command(gated, "retry", str(swept.directory))
    assert page.states() == ["finished", "finished"]
    assert page.data()["sweep"]["state"] == "FINISHED"
    assert len(gated.marks()) == 3


def test_open_starts_the_server_of_a_sweep_that_ended_long_ago(gated: Project) -> None:
    go(gated, "all")
    swept = gated.sweep("x=1,2")
    pid = gated.server().pid
    gated.end()
    wait_for(lambda: not (gated.directory / ".wandb_sweep_server" / "server.json").exists(), "the server has ended")
    assert Page(gated, swept.directory).states() == ["finished", "finished"]
    assert gated.server().pid != pid


def test_open_takes_the_path_of_a_sweep_too(gated: Project) -> None:
    go(gated, "all")
    swept = gated.sweep("x=1,2")
    path = json.loads((swept.directory / ".sweep" / "sweep.json").read_text())["sweep"]
    done = command(gated, "open", f"{path['project']}/{path['sweep_id']}", "--no-browser")
    assert requests.get(done.stdout.strip(), timeout=60).status_code == 200


def test_a_link_is_written_to_the_terminal_and_to_no_log(gated: Project) -> None:
    go(gated, "all")
    directory = gated.directory / "sweep0"
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "app.py", "-m", "hydra/sweeper=wandb", f"hydra.sweep.dir={directory}", "x=1,2"],
        cwd=gated.directory, env=gated.env, stdin=theirs, stdout=theirs, stderr=theirs, preexec_fn=heed_terminal,
    )  # fmt: skip
    gated.started.append(process)  # type: ignore[arg-type]
    os.close(theirs)
    shown = read_terminal(ours)
    assert process.wait(timeout=120) == 0, shown
    link = re.search(r"http://\S+/page/login\?token=([\w-]+)\S*", shown)
    assert link is not None, shown
    assert requests.get(link[0], timeout=60).status_code == 200
    logs = [path for path in gated.directory.rglob("*") if path.is_file()]
    assert [path for path in logs if link[1].encode() in path.read_bytes()] == []


def read_terminal(descriptor: int) -> str:
    """All that is written to a terminal until nobody has it open any more."""
    text = b""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if not select.select([descriptor], [], [], 1.0)[0]:
            continue
        try:
            block = os.read(descriptor, 65536)
        except OSError:  # Linux says so at the end
            break
        if not block:
            break
        text += block
    os.close(descriptor)
    return text.decode()
