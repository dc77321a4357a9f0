"""Sweep data from a ledger, and from what a server says: the same for the same sweep."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hydra_plugins.hydra_wandb_sweeper._client import RunInfo, SweepInfo
from hydra_plugins.hydra_wandb_sweeper._control import Control
from hydra_plugins.hydra_wandb_sweeper._ledger import Ledger, SweepRecord, Trial
from hydra_plugins.hydra_wandb_sweeper._page_data import RunTimes, Work
from hydra_plugins.hydra_wandb_sweeper._report_data import ledger_data, server_data
from hydra_plugins.hydra_wandb_sweeper._template import Form, Slot, Template
from tests.unit.sweeper.test_ledger import RECORD
from tests.unit.sweeper.test_timeline import RESULT, STARTED

INFO = SweepInfo(
    RECORD.sweep, "node", "RUNNING", {"method": "grid", "parameters": RECORD.parameters}, "about it", 50.0
)
TRIALS = Template((Slot("trial_overrides", "trial overrides", Form.LINE),))


class Sweep:
    """A ledger with one agent, on a clock that a test moves."""

    def __init__(self, directory: Path, **changes: Any) -> None:
        self.now = 100.0
        self.record: SweepRecord = replace(RECORD, **changes)
        Ledger.create(directory, self.record, "supervisor")
        self.ledger = Ledger(directory, "agent-0", clock=lambda: self.now)
        self.ledger.record("agent_started", **STARTED)

    def runs(self, number: int, args: dict[str, Any], **result: Any) -> Trial:
        """Run a trial for 5 s; without a result it goes on."""
        trial = Trial(number, 0, f"r{number}", args)
        self.now += 1
        self.ledger.begin(trial)
        if result:
            self.now += 5
            self.ledger.record("ended", trial, **{**RESULT, "state": "finished", "final": True, **result})
        return trial

    def data(self, server: SweepInfo | None = None) -> dict[str, Any]:
        return ledger_data(self.ledger, 500.0, server)


def args(lr: float, m: int = 1) -> dict[str, Any]:
    return {"lr": lr, "batch": 3, "opt": {"m": m}}


def test_the_ledger_tells_all_of_a_run(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    sweep.runs(0, args(0.0), metrics={"loss": 0.5}, duration_s=5.0)
    sweep.runs(1, args(0.1, 2), state="failed", error_line="ValueError: no good", duration_s=5.0)
    data = sweep.data()
    assert data["runs"] == {
        "id": ["r0", "r1"],
        "name": ["0: lr=0,m=1", "1: lr=0.1,m=2"],
        "state": ["finished", "failed"],
        "began_at": [101.0, 107.0],
        "ended_at": [106.0, 112.0],
        "duration_s": [5.0, 5.0],
        "host": ["h", "h"],
        "agent": ["agent-0", "agent-0"],
        "reason": [None, "ValueError: no good"],
        "parameters": {"lr": [0.0, 0.1], "opt.m": [1, 2]},
        "metrics": {"loss": [0.5, None]},
    }
    assert [[t["run"] for t in agent["trials"]] for agent in data["agents"]] == [["r0", "r1"]]
    told = {name: data["sweep"][name] for name in ("id", "name", "state", "method", "metric", "expected", "now")}
    assert told == {
        "id": "ab12",
        "name": "app",
        "state": "FINISHED",
        "method": "grid",
        "metric": {"name": "loss", "goal": "minimize"},
        "expected": 2,
        "now": 500.0,
    }
    assert data["sweep"]["config"]["parameters"] == RECORD.parameters


def test_a_trial_that_runs_waits_or_makes_room_has_not_ended(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, expected_trials=3)
    sweep.runs(0, args(0.0))
    making_room = sweep.runs(1, args(0.1))
    sweep.ledger.record("preempting", making_room, reason="time")
    waits = sweep.runs(2, args(0.2), state="failed", final=False)
    sweep.ledger.offer(replace(waits, attempt=1), "retry 1 of 1")
    data = sweep.data()
    assert data["runs"]["state"] == ["running", "preempting", "pending"]
    assert data["runs"]["ended_at"] == [None, None, None]
    assert data["sweep"]["state"] == "RUNNING"


@pytest.mark.parametrize(
    ("order", "state"), [(Control.cancel, "CANCELED"), (Control.pause, "PAUSED"), (Control.drain, "RUNNING")]
)
def test_orders_are_the_sweep_s_state(tmp_path: Path, order: Any, state: str) -> None:
    sweep = Sweep(tmp_path)
    sweep.runs(0, args(0.0))
    order(Control(sweep.ledger.root))
    assert sweep.data()["sweep"]["state"] == state


def test_a_sweep_that_was_stopped_is_finished_and_its_trials_were_killed(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    sweep.runs(0, args(0.0), state="stopped", error_line="stopped by its user")
    sweep.ledger.record("sweep_stopped", reason="1 of 2 trials failed")
    data = sweep.data()
    assert (data["sweep"]["state"], data["runs"]["state"], data["runs"]["reason"]) == (
        "FINISHED",
        ["killed"],
        ["stopped by its user"],
    )


def test_the_server_s_words_of_the_sweep_are_taken_where_there_are_some(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path).data(INFO)["sweep"]
    assert (sweep["description"], sweep["config"]) == ("about it", INFO.config)


def test_a_list_of_trials_is_told_by_its_keys_with_typed_values(tmp_path: Path) -> None:
    lines = ["lr=0.1 +model.kernel=3 note='small, slow'", "lr=1 ~dropout"]
    parameters = {"trial_overrides": {"values": lines}}
    sweep = Sweep(tmp_path, template=TRIALS, parameters=parameters)
    for number, line in enumerate(lines):
        sweep.runs(number, {"trial_overrides": line}, metrics={})
    data = sweep.data()
    assert data["runs"]["parameters"] == {
        "lr": [0.1, 1],
        "model.kernel": [3, None],
        "note": ["small, slow", None],
        "~dropout": [None, ""],
    }


def test_values_that_travel_as_text_are_numbers_if_all_of_them_are(tmp_path: Path) -> None:
    template = Template((Slot("n", "n", Form.TEXT), Slot("p", "p", Form.TEXT)))
    parameters = {"n": {"values": ["1", "1.5"]}, "p": {"values": ["null", "0.5"]}}
    sweep = Sweep(tmp_path, template=template, parameters=parameters)
    sweep.runs(0, {"n": "1", "p": "null"}, metrics={})
    sweep.runs(1, {"n": "1.5", "p": "0.5"}, metrics={})
    data = sweep.data()
    assert data["runs"]["parameters"] == {"n": [1, 1.5], "p": ["null", "0.5"]}
    assert [p["kind"] for p in data["parameters"]] == ["number", "category"]


@pytest.mark.parametrize("url", ["javascript:alert(1)", "", "file:///etc/passwd"])
def test_only_web_addresses_become_the_sweep_s(tmp_path: Path, url: str) -> None:
    assert Sweep(tmp_path, url=url).data()["sweep"]["url"] is None


def test_a_server_s_runs_become_the_same_data() -> None:
    own = {"_wandb": {"e": {"first": {"host": "h0"}, "second": {"host": "h1"}}}}
    error = "Traceback (most recent call last):\n  …\nValueError: no good\n"
    runs = [
        RunInfo("r0", "finished", {**args(0), **own}, {"loss": 0.5, "_runtime": 5, "text": "x"}, "zero", 1.0, 6.0),
        RunInfo(
            "r1",
            "crashed",
            args(0.1, 2),
            {"loss": "NaN", "trial_error": error, "_wandb": {"runtime": 7}},
            "",
            2.0,
            9.0,
        ),
        RunInfo("r2", "running", {}, {"_runtime": 3}, "two", 3.0, 9.0),
    ]
    data = server_data(INFO, "http://page", iter(runs), 500.0)
    assert data["runs"] == {
        "id": ["r0", "r1", "r2"],
        "name": ["zero", "r1", "two"],
        "state": ["finished", "crashed", "running"],
        "began_at": [1.0, 2.0, 3.0],
        "ended_at": [6.0, 9.0, None],
        "duration_s": [5, 7, 3],
        "host": ["h1", None, None],
        "agent": [None, None, None],
        "reason": [None, "ValueError: no good", None],
        "parameters": {"lr": [0, 0.1, None], "opt.m": [1, 2, None]},
        "metrics": {"loss": [0.5, None, None]},
    }
    assert data["sweep"]["metric"] == {"name": "objective", "goal": "minimize"}
    assert (data["sweep"]["created_at"], data["sweep"]["expected"]) == (50.0, 4)
    assert (data["agents"], data["knows_agents"]) == ([], False)


@pytest.mark.parametrize(
    ("state", "summary", "heard_at", "duration_s"),
    [
        ("finished", {"_runtime": 0, "_wandb": {"runtime": 0}}, 1.34, 0.34),
        ("finished", {"_runtime": 3, "_wandb": {"runtime": 5}}, 6.5, 5.5),
        ("finished", {"_runtime": 4.2}, 5.9, 4.9),
        ("crashed", {}, 8.25, 7.25),
        # On a machine that took seconds to begin it.
        ("finished", {"_runtime": 0}, 5.5, 4.5),
        # Nobody can tell a gap of seconds from these; one of an hour is none.
        ("finished", {"_runtime": 3}, 13.9, 12.9),
        ("finished", {"_runtime": 3}, 14.0, 3),
        ("finished", {"_runtime": 60}, 3661.0, 60),
        ("running", {"_runtime": 3}, 9.0, 3),
        ("pending", {}, 1.0, None),
        ("finished", {"_runtime": "3"}, None, None),
        ("finished", {"_runtime": 3}, 0.5, 3),
    ],
)
def test_a_duration_is_as_exact_as_the_server_s_times(
    state: str, summary: dict[str, Any], heard_at: float | None, duration_s: float | None
) -> None:
    run = RunInfo("r", state, {}, summary, "", 1.0, heard_at)
    assert server_data(INFO, "http://page", [run], 500.0)["runs"]["duration_s"] == [duration_s]


def test_who_worked_when_is_taken_from_a_server_that_tells() -> None:
    runs = [RunInfo(name, "finished", {}, {"_runtime": 5}, "", 1.0, 6.0) for name in ("r0", "r1")]
    agent = {"name": "a", "host": "h", "began_at": 1.0, "ended_at": None, "ended": None, "trials": []}
    data = server_data(INFO, "http://page", runs, 500.0, Work([agent], {"r0": RunTimes(2.0, 4.5, 2.5, "a")}))
    assert (data["agents"], data["knows_agents"]) == ([agent], True)
    assert data["runs"]["began_at"] == [2.0, 1.0]
    assert data["runs"]["ended_at"] == [4.5, 6.0]
    assert data["runs"]["duration_s"] == [2.5, 5.0]
    assert data["runs"]["agent"] == ["a", None]


def test_what_trials_left_is_linked_to_from_beside_it(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    places = [str(tmp_path / "lr=0.1,m: 1?"), "/elsewhere/1", None]
    for number, place in enumerate(places):
        sweep.runs(number, args(0.1), output_dir=place)
    assert "places" not in sweep.data()
    directories = ["./lr%3D0.1%2Cm%3A%201%3F/", None, None]
    assert ledger_data(sweep.ledger, 500.0, beside=tmp_path)["places"] == {
        "directory": directories,
        "log": None,
        "config": None,
    }
    (tmp_path / "lr=0.1,m: 1?" / ".hydra").mkdir(parents=True)
    (tmp_path / "lr=0.1,m: 1?" / ".hydra" / "config.yaml").touch()
    (tmp_path / "lr=0.1,m: 1?" / "trial.log").touch()
    assert ledger_data(sweep.ledger, 500.0, beside=tmp_path)["places"] == {
        "directory": directories,
        "log": "trial.log",
        "config": ".hydra/config.yaml",
    }


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"method": "grid", "parameters": {"a": {"values": [1, 2]}, "b": {"value": 3}}}, 2),
        ({"method": "grid", "run_cap": 1, "parameters": {"a": {"values": [1, 2]}}}, 1),
        ({"method": "grid", "parameters": {"a": {"min": 1, "max": 5}}}, None),
        ({"method": "random", "parameters": {"a": {"values": [1, 2]}}}, None),
        ({"method": "random", "run_cap": 9, "parameters": {"a": {"values": [1, 2]}}}, 9),
    ],
)
def test_how_many_runs_a_sweep_will_have(config: dict[str, Any], expected: int | None) -> None:
    info = replace(INFO, config=config)
    assert server_data(info, "http://page", (), 1.0)["sweep"]["expected"] == expected
