"""How a sweep is said to be, from what its ledger, its jobs and its orders say."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hydra_plugins.hydra_wandb_sweeper import _slurm
from hydra_plugins.hydra_wandb_sweeper._client import RunInfo, SweepInfo, SweepRef
from hydra_plugins.hydra_wandb_sweeper._control import Orders
from hydra_plugins.hydra_wandb_sweeper._history import History, JobRecord
from hydra_plugins.hydra_wandb_sweeper._status import (
    KEEPER,
    SweepStatus,
    job_states,
    last_line,
    server_status,
    sweep_status,
)
from hydra_plugins.hydra_wandb_sweeper._watch import Watcher
from tests.unit.sweeper.test_ledger import RECORD


class Story:
    """Events as they would be told."""

    def __init__(self) -> None:
        self.history = History()
        self.now = 100.0

    def tell(self, event: str, by: str = "agent-0", **details: Any) -> Story:
        self.now += 1
        self.history.add([{"event": event, "by": by, "time": self.now, **details}])
        return self

    def job(self, number: int) -> Story:
        return self.tell("job_submitted", number=number, job_id=f"70_{number}", cluster="slurm", host="h", log="l")

    def agent(self, number: int) -> Story:
        process = {"host": "h", "pid": 7, "process_start": "1", "node": f"n{number}"}
        return self.tell("agent_started", f"agent-{number}", job="70", job_number=number, restarts=0, **process)

    def leaves(self, number: int) -> Story:
        return self.tell("agent_ended", f"agent-{number}", reason="done", gave_up=False, found_no_more=False)

    def claims(self, number: int, trial: int) -> Story:
        claim = {
            "trial": trial,
            "attempt": 0,
            "run_id": f"r{trial}",
            "args": {"lr": 0.1, "batch": 3, "opt": {"m": 1}},
        }
        return self.tell("claimed", f"agent-{number}", **claim, failures=0, resumes=False)

    def ends(self, trial: int, state: str = "finished", **result: Any) -> Story:
        told = {"metrics": {"loss": 0.5}, "error_line": None, "output_dir": None, "duration_s": 1.0, **result}
        return self.tell("ended", trial=trial, attempt=0, run_id=f"r{trial}", state=state, final=True, **told)

    def status(self, orders: Orders = Orders(), **states: str) -> SweepStatus:  # noqa: B008 (frozen)
        live = {int(name.removeprefix("job")): state for name, state in states.items()}
        return sweep_status(RECORD, self.history, orders, None, live, Path("/sweep"), self.now + 5)


def test_a_new_sweep_s_jobs_wait() -> None:
    shown = Story().job(0).job(1).status(job0="PENDING", job1="PENDING")
    assert shown.state == "running"
    assert [(a.name, a.job, a.job_state, a.trial) for a in shown.agents] == [
        ("agent-0", "70_0", "PENDING", None),
        ("agent-1", "70_1", "PENDING", None),
    ]


def test_agents_that_work_have_ended_or_died_are_told_apart() -> None:
    story = Story()
    for number in range(3):
        story.job(number).agent(number)
    story.claims(0, 0).ends(0).claims(1, 1).leaves(2)
    shown = story.status(job0="RUNNING", job2="RUNNING")
    assert [(a.trial, a.trials, a.ended) for a in shown.agents] == [
        (None, 1, None),
        (None, 0, "it died"),
        (None, 0, "done"),
    ]
    alive = story.status(job0="RUNNING", job1="RUNNING").agents[1]
    assert (alive.trial, alive.host, alive.ended) == (1, "n1", None)
    assert alive.trial_s == 6.0


@pytest.mark.parametrize(
    ("orders", "live", "state"),
    [
        (Orders(), True, "running"),
        (Orders(), False, "idle"),
        (Orders(paused=True), True, "paused"),
        (Orders(draining=True), True, "draining"),
        (Orders(draining=True), False, "idle"),
        (Orders(cancelled=True), True, "cancelled"),
    ],
)
def test_the_state_while_trials_are_left(orders: Orders, live: bool, state: str) -> None:
    story = Story().job(0).agent(0).claims(0, 0)
    assert story.status(orders, **({"job0": "RUNNING"} if live else {})).state == state


def test_the_state_at_the_end() -> None:
    story = Story().job(0).agent(0).claims(0, 0).ends(0).claims(0, 1).ends(1, "failed", error_line="boom")
    assert story.status(job0="RUNNING").state == "running", "its agent has not left yet"
    assert story.leaves(0).status().state == "finished"
    story.tell("sweep_stopped", reason="1 of 2 trials failed")
    assert (story.status().state, story.status().reason) == ("stopped", "1 of 2 trials failed")
    assert story.tell("reopened").status().state == "finished"


def test_failures_have_the_last_line_of_their_log(tmp_path: Path) -> None:
    (tmp_path / "trial.log").write_text("begins\n" + "x" * 9000 + "\nValueError: boom\n\n")
    story = Story().job(0).agent(0).claims(0, 0).ends(0, "failed", error_line="boom", output_dir=str(tmp_path))
    story.claims(0, 1).ends(1, "failed", error_line="killed", output_dir="/nowhere")
    first, second = story.status().failures
    assert (first.trial, first.error, first.last_line) == (0, "boom", "ValueError: boom")
    assert (second.log, second.last_line) == (None, None)


def test_the_last_line_of_an_empty_or_missing_log(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert last_line(tmp_path / "empty") == ""
    assert last_line(tmp_path / "missing") is None


def test_jobs_that_can_not_be_asked_for_are_neither_running_nor_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    slurm = JobRecord(0, "7_0", "slurm", "h", "l")
    elsewhere = JobRecord(1, "99999999", "local", "another-host", "l")
    gone = replace(elsewhere, number=2, host=socket.gethostname())
    assert job_states([slurm, elsewhere, gone]) == {0: "UNKNOWN", 1: "UNKNOWN"}


def test_states_come_from_one_question() -> None:
    asked = []

    def run(command: Any) -> str:
        asked.append(command)
        return "7_0 RUNNING\n7_2 PENDING\n9 RUNNING\n"

    assert _slurm.queued_states(["7_0", "7_1", "9"], run) == {"7_0": "RUNNING", "7_2": "PENDING", "9": "RUNNING"}
    assert len(asked) == 1
    assert asked[0][-1] == "7,9"


def test_a_sweep_that_only_the_server_knows() -> None:
    info = SweepInfo(
        SweepRef("me", "p", "ab12"),
        "id",
        "RUNNING",
        {"metric": {"name": "loss", "goal": "maximize"}, "parameters": {"lr": {"values": [1, 2]}, "b": {"value": 3}}},
    )
    runs = [
        RunInfo("r0", "finished", {"lr": 1, "b": 3}, {"loss": 0.5}),
        RunInfo("r1", "finished", {"lr": 2, "b": 3}, {"loss": 0.7}),
        RunInfo("r2", "crashed", {"lr": 2}, {}),
        RunInfo("r3", "running", {"lr": 2}, {"loss": 9.0}),
    ]
    shown = server_status(info, "http://page", runs)
    assert (shown.state, shown.trials) == ("running", {"finished": 2, "crashed": 1, "running": 1})
    assert (shown.best_value, shown.best_overrides) == (0.7, ["lr=2"])
    assert [(f.run_id, f.error) for f in shown.failures] == [("r2", "crashed")]


def test_who_supervises_is_said() -> None:
    watcher = Watcher("login1", 42, "7", 0.0, "token")
    shown = sweep_status(RECORD, Story().history, Orders(), watcher, {}, Path("/sweep"), 0.0)
    assert shown.supervisor == "42@login1"


def test_a_job_that_was_put_back_into_the_queue_waits_for_its_next_agent() -> None:
    story = Story().job(0).agent(0).claims(0, 0).leaves(0)
    assert story.status(job0="RUNNING").state == "idle"
    shown = story.status(job0="PENDING")
    assert shown.state == "running"
    assert [(a.name, a.job_state) for a in shown.agents if a.ended is None] == [("agent-0", "PENDING")]


def test_a_sweep_that_a_keeper_will_see_to_is_not_idle() -> None:
    story = Story().job(0).agent(0).claims(0, 0).tell("keeper_submitted", job_id="99")
    shown = sweep_status(RECORD, story.history, Orders(), None, {KEEPER: "PENDING"}, Path("/sweep"), 0.0)
    assert (shown.state, shown.keeper) == ("running", "99")


def test_a_sweep_whose_other_trials_ran_elsewhere_is_finished() -> None:
    story = Story().job(0).agent(0).claims(0, 0).ends(0)
    end = {"reason": "r", "gave_up": False, "found_no_more": True}
    assert story.tell("agent_ended", "agent-0", **end).status().state == "finished"
