"""Early stopping in the store: who is stopped when values come in, and what survives restarts and repetitions."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.server.early_stopping import GOALS, SECTIONS, VALUES, config, line, post
from tests.unit.server.support import Server
from wandb_sweep_server.early_stop import Hyperband, parse_early_terminate, retrace
from wandb_sweep_server.records import Sweep
from wandb_sweep_server.sweeps import SweepChange

FIRST = {"min_iter": 1, "eta": 2}


def sweep_of(server: Server, section: Mapping[str, Any] = FIRST, **more: Any) -> Sweep:
    return server.sweep({"a": {"values": [1, 2, 3]}}, **{**config(section, {}), **more})


def runs_of(server: Server, sweep: Sweep, *names: str) -> None:
    for name in names:
        server.start(name, sweep)


def stopped(server: Server) -> list[str]:
    return [run.name for run in server.runs() if run.stop_requested]


def losses(server: Server) -> dict[str, dict[int, float]]:
    rows = server.store.database.rows(
        "SELECT name, bracket, loss FROM bracket_losses AS b JOIN runs ON runs.id = b.run_id ORDER BY bracket"
    )
    found: dict[str, dict[int, float]] = {}
    for row in rows:
        found.setdefault(row["name"], {})[row["bracket"]] = row["loss"]
    return found


def rule_of(server: Server, sweep: Sweep) -> Hyperband:
    rule = server.store.sweeps.config(sweep).early_stop
    assert rule is not None
    return rule


def test_a_run_that_is_worse_than_its_brackets_threshold_is_stopped(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    sweep = sweep_of(server)
    agent = server.agent(sweep)
    good, bad = server.claim(agent), server.claim(server.agent(sweep))
    runs_of(server, sweep, good, bad)
    with caplog.at_level(logging.INFO, logger="wandb_sweep_server"):
        assert not server.post(good, post([0.31], 0)).stop_requested
        run = server.post(bad, post([0.52], 0))
    # With two runs the threshold is the worse one's: half of them are at most as good.
    assert not run.stop_requested
    better = server.start("better", sweep)
    server.post(better.name, post([0.1], 0))
    server.post(server.start("best", sweep).name, post([0.05], 0))
    assert stopped(server) == [bad]
    reason = "stopped early: bracket 1, loss 0.52 > 0.31"
    assert server.run(bad).stop_reason == reason
    (command,) = server.heartbeat(server.agent(sweep), bad)
    assert command == {"type": "stop", "run_id": bad, "reason": reason}


def test_the_decision_is_logged(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    sweep = sweep_of(server, {"min_iter": 1, "eta": 3})
    runs_of(server, sweep, "good", "bad")
    with caplog.at_level(logging.INFO, logger="wandb_sweep_server"):
        server.post("good", post([0.31], 0))
        server.post("bad", post([0.52], 0))
    assert "run bad stopped early: bracket 1, loss 0.52 > 0.31" in caplog.text


@pytest.mark.parametrize(("code", "state"), [(0, "killed"), (255, "killed")])
def test_a_run_that_was_stopped_is_over_and_is_not_offered_again(server: Server, code: int, state: str) -> None:
    sweep = sweep_of(server, {"min_iter": 1, "eta": 3})
    agent = server.agent(sweep)
    runs_of(server, sweep, "good")
    bad = server.claim(agent)
    runs_of(server, sweep, bad)
    server.post("good", post([1], 0))
    assert server.post(bad, post([2], 0)).stop_requested
    assert server.exit(bad, code).state == state
    # An agent whose trial was ended by its SDK asks why by listing it once more.
    assert server.heartbeat(agent, bad) == [{"type": "stop", "run_id": bad, "reason": server.run(bad).stop_reason}]
    assert server.run(bad).state == state
    assert server.claim(agent) != bad


def test_a_run_that_ends_with_its_last_value_has_finished(server: Server) -> None:
    sweep = sweep_of(server, {"min_iter": 1, "eta": 3})
    runs_of(server, sweep, "good", "bad")
    server.post("good", post([1], 0))
    run = server.post("bad", {**post([2], 0), "complete": True, "exitcode": 0})
    assert (run.state, run.stop_requested) == ("finished", 0)


def test_a_run_is_stopped_when_others_move_the_threshold_of_a_bracket_that_it_has_passed(server: Server) -> None:
    sweep = sweep_of(server, {"min_iter": 2, "eta": 3})
    runs_of(server, sweep, "a", "b")
    server.post("a", post([5, 5, 4], 0))
    assert stopped(server) == []
    server.post("b", post([1, 1], 0))
    assert stopped(server) == ["a"]


@pytest.mark.parametrize(("strict", "expected"), [(None, ["late"]), (True, ["late"]), (False, [])])
def test_strict_compares_the_value_at_the_bracket_else_the_best_counts(
    server: Server, strict: bool | None, expected: list[str]
) -> None:
    sweep = sweep_of(server, {"min_iter": 2, "eta": 3, "strict": strict})
    runs_of(server, sweep, "early", "late")
    server.post("early", post([3, 3], 0))
    server.post("late", post([1, 4], 0))
    assert stopped(server) == expected


def test_only_running_runs_are_stopped_but_all_count(server: Server) -> None:
    sweep = sweep_of(server, {"min_iter": 1, "eta": 3})
    runs_of(server, sweep, "ended", "preempting", "running")
    server.post("ended", {**post([3], 0), "complete": True, "exitcode": 0})
    server.post("preempting", {**post([3], 0), "preempting": True})
    server.post("running", post([3], 0))
    server.post(server.start("better", sweep).name, post([1], 0))
    server.post(server.start("best", sweep).name, post([0], 0))
    assert stopped(server) == ["running"]


def test_lines_that_are_sent_again_count_once(server: Server) -> None:
    sweep = sweep_of(server)
    runs_of(server, sweep, "a")
    for _ in range(3):
        server.post("a", post([3, 2], 0))
    server.post("a", post([2, 1, 0], 1))
    assert losses(server) == {"a": {1: 3, 2: 2, 4: 0}}


@pytest.mark.parametrize("offset", [0, 3], ids=["overwriting lines, as wandb 0.19 does", "after the lines before"])
def test_a_process_that_begins_its_run_anew_is_counted_from_the_start(server: Server, offset: int) -> None:
    sweep = sweep_of(server)
    runs_of(server, sweep, "a")
    server.post("a", post([9, 8, 7], 0))
    server.post("a", post([6], offset, first_step=0))
    assert losses(server) == {"a": {1: 6}}
    server.post("a", post([5, 4, 3], offset + 1, first_step=1))
    assert losses(server) == {"a": {1: 6, 2: 5, 4: 3}}


def test_a_run_that_goes_on_from_a_checkpoint_is_counted_on(server: Server) -> None:
    sweep = sweep_of(server)
    runs_of(server, sweep, "a")
    server.post("a", post([9, 8, 7], 0))
    server.post("a", post([6], 3))
    assert losses(server) == {"a": {1: 9, 2: 8, 4: 6}}


def test_a_run_that_leaves_or_is_deleted_takes_its_values_along(server: Server) -> None:
    sweep = sweep_of(server, {"min_iter": 1, "eta": 3})
    runs_of(server, sweep, "a", "b", "c", "d")
    for name, value in {"a": 4, "b": 3, "c": 3.5}.items():
        server.exit(server.post(name, post([value], 0)).name)
    server.post("d", post([3.5], 0))
    assert stopped(server) == []  # of four the second is the threshold
    server.do(lambda: server.store.runs.leave_brackets(server.run("a")))
    assert sorted(losses(server)) == ["b", "c", "d"]
    server.do(lambda: server.store.runs.delete(server.run("c")))
    assert stopped(server) == ["d"]
    for name in ("b", "d"):
        server.do(lambda name=name: server.store.runs.delete(server.run(name)))
    rows = server.store.database.rows("SELECT 1 FROM bracket_losses UNION SELECT 1 FROM brackets")
    assert rows == []


def test_another_rule_is_applied_to_the_histories_that_there_are(server: Server) -> None:
    sweep = sweep_of(server, {"min_iter": 1, "eta": 2})
    runs_of(server, sweep, "a", "b")
    server.post("a", post([1, 1, 1], 0))
    server.post("b", post([1, 1], 0))
    text = str({"method": "grid", "parameters": {"a": {"values": [1, 2, 3]}}, **config({"min_iter": 3}, {})})
    server.do(lambda: server.store.sweeps.change(server.sweep_now(sweep), SweepChange(config=text)))
    server.post("b", post([2], 2))
    assert losses(server) == {"a": {3: 1}, "b": {3: 2}}
    assert stopped(server) == ["b"]


def test_values_of_the_time_without_the_rule_are_counted_when_it_comes_back(server: Server) -> None:
    sweep = sweep_of(server)
    runs_of(server, sweep, "a")
    server.post("a", post([5], 0))
    parameters = {"method": "grid", "parameters": {"a": {"values": [1, 2, 3]}}}
    for values, offset, section in (([4], 1, {}), ([3, 2], 2, config(FIRST, {}))):
        text = str({**parameters, **section})
        server.do(lambda text=text: server.store.sweeps.change(server.sweep_now(sweep), SweepChange(config=text)))
        server.post("a", post(values, offset))
    assert losses(server) == {"a": {1: 5, 2: 4, 4: 2}}


def test_history_from_before_a_run_joined_the_sweep_counts(server: Server) -> None:
    sweep = sweep_of(server)
    server.start("a")
    server.post("a", post([5, 4], 0))
    server.start("a", sweep)
    server.post("a", post([3, 2], 2))
    assert losses(server) == {"a": {1: 5, 2: 4, 4: 2}}


def test_a_sweep_with_a_scheduler_is_left_to_it(server: Server) -> None:
    sweep = sweep_of(server, {"min_iter": 1, "eta": 3}, scheduler={"engine": "wandb"})
    runs_of(server, sweep, "a", "b")
    server.post("a", post([1], 0))
    server.post("b", post([2], 0))
    assert stopped(server) == []


def test_what_stopped_a_run_is_forgotten_when_it_runs_again(server: Server) -> None:
    sweep = sweep_of(server, {"min_iter": 1, "eta": 3})
    runs_of(server, sweep, "good", "bad")
    server.post("good", post([1], 0))
    server.exit(server.post("bad", post([2], 0)).name, 255)
    run = server.start("bad", sweep)
    assert (run.state, run.stop_requested, run.stop_reason) == ("running", 0, None)


NAMES = ("a", "b", "c", "d", "e")
ACTS = st.lists(
    st.tuples(
        st.sampled_from(NAMES),
        st.sampled_from(["log", "log", "log", "log", "again", "anew", "overwrite", "leave", "end", "restart"]),
        st.lists(VALUES, min_size=1, max_size=4),
    ),
    max_size=25,
)


class Everything:
    """The same, worked out over all histories each time."""

    def __init__(self, rule: Hyperband) -> None:
        self.rule = rule
        self.lines: dict[str, list[str]] = {name: [] for name in NAMES}
        self.running = set(NAMES)
        self.stopped: set[str] = set()
        self.gone: set[str] = set()

    def decide(self) -> None:
        tracks = {name: retrace(self.rule, lines) for name, lines in self.lines.items()}
        for name in self.running - self.stopped:
            standing = tracks[name].standing
            at = sorted(t.losses[standing.bracket] for t in tracks.values() if standing.bracket in t.losses)
            if standing.bracket and standing.loss > at[int(self.rule.share * len(at))]:
                self.stopped.add(name)


@settings(deadline=None, max_examples=60)
@given(SECTIONS, GOALS, ACTS)
def test_a_value_at_a_time_decides_as_everything_at_once_does(
    section: dict[str, Any], goal: dict[str, Any], acts: list[tuple[str, str, list[Any]]]
) -> None:
    directory = Path(tempfile.mkdtemp(prefix="brackets-"))
    server = Server(directory)
    rule = parse_early_terminate(config(section, goal))
    assert rule is not None
    everything = Everything(rule)
    try:
        sweep = server.sweep({"a": {"value": 1}}, **config(section, goal))
        runs_of(server, sweep, *NAMES)
        for name, act, values in acts:
            _act(server, everything, name, act, values)
            everything.decide()
            assert set(stopped(server)) == everything.stopped, act
    finally:
        server.store.close()
        shutil.rmtree(directory)


def _act(server: Server, everything: Everything, name: str, act: str, values: list[Any]) -> None:
    lines = everything.lines[name]
    if act == "restart":
        server.reopen()
    elif name in everything.gone:
        return
    elif act == "log":
        # As the SDK counts steps: on from the last line.
        _send(server, everything, name, len(lines), values, json.loads(lines[-1])["_step"] + 1 if lines else 0)
    elif act == "anew":
        _send(server, everything, name, len(lines), values, 0)
    elif act == "overwrite":
        _send(server, everything, name, 0, values, 0)
    elif act == "again":
        server.post(name, {"files": {"wandb-history.jsonl": {"offset": 0, "content": list(lines)}}})
    elif act == "end":
        server.exit(name)
        everything.running.discard(name)
    elif act == "leave":
        server.do(lambda: server.store.runs.leave_brackets(server.run(name)))
        everything.gone.add(name)
        everything.running.discard(name)
        everything.lines[name] = []


def _send(server: Server, everything: Everything, name: str, offset: int, values: list[Any], first_step: int) -> None:
    server.post(name, post(values, offset, first_step))
    sent = [line(value, first_step + i) for i, value in enumerate(values)]
    everything.lines[name] = [*everything.lines[name][:offset], *sent]
