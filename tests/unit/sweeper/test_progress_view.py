"""How far a sweep is said to be, by its events, its jobs and the clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_plugins.hydra_wandb_sweeper._control import Orders
from hydra_plugins.hydra_wandb_sweeper._history import History
from hydra_plugins.hydra_wandb_sweeper._ledger import SweepRecord
from hydra_plugins.hydra_wandb_sweeper._progress_view import (
    AgentView,
    BestView,
    FailureView,
    JobView,
    ProgressModel,
    ProgressView,
    time_to_end_s,
)
from tests.unit.sweeper.test_growth import steps_of
from tests.unit.sweeper.test_ledger import RECORD


class Story:
    """Events as they are told, one after another; `at` is the clock."""

    def __init__(self, expected: int | None = 10, goal: str = "minimize") -> None:
        self.record: SweepRecord = replace(RECORD, expected_trials=expected, metric_goal=goal)
        self.history = History()
        self.logs: set[str] = set()
        self.model = ProgressModel(self.record, self.history, exists=lambda path: str(path) in self.logs)
        self.now = 1000.0
        self.attempts: dict[int, int] = {}

    def at(self, now: float) -> Story:
        self.now = now
        return self

    def tell(self, event: str, by: str = "agent-0", **details: Any) -> Story:
        events = [{"event": event, "by": by, "time": self.now, **details}]
        self.history.add(events)
        self.model.add(events)
        return self

    def job(self, number: int) -> Story:
        return self.tell(
            "job_submitted", number=number, job_id=f"70_{number}", cluster="slurm", host="h", log=f"/{number}.err"
        )

    def agent(self, number: int, job_end: float | None = None, restarts: int = 0) -> Story:
        name = f"agent-{number}" + (f"r{restarts}" if restarts else "")
        process = {"host": "login", "pid": 7, "process_start": "1", "node": f"n{number}", "job_end": job_end}
        return self.tell("agent_started", name, job_number=number, restarts=restarts, **process)

    def leaves(self, number: int) -> Story:
        return self.tell("agent_ended", f"agent-{number}", reason="done", gave_up=False, found_no_more=False)

    def claims(self, number: int, trial: int, m: Any = 1) -> Story:
        attempt = self.attempts[trial] = self.attempts.get(trial, -1) + 1
        args = {"lr": 0.1 * trial, "batch": 3, "opt": {"m": m}}
        about = {"trial": trial, "attempt": attempt, "run_id": f"r{trial}", "args": args}
        return self.tell("claimed", f"agent-{number}", **about, failures=0, resumes=False)

    def ends(self, trial: int, value: float | None = None, state: str = "finished", **result: Any) -> Story:
        metrics = {} if value is None else {"loss": value}
        usual = {"error_line": None, "output_dir": None, "duration_s": 10.0, "final": True}
        by = self.history.trials[trial].agent
        about = {"trial": trial, "attempt": self.attempts[trial], "run_id": f"r{trial}"}
        return self.tell("ended", by, **about, state=state, metrics=metrics, **{**usual, **result})

    def runs(self, trial: int, value: float | None = None, state: str = "finished", **result: Any) -> Story:
        return self.claims(0, trial).ends(trial, value, state, **result)

    def view(self, jobs: Sequence[JobView] = (), orders: Orders = Orders()) -> ProgressView:  # noqa: B008 (frozen)
        return self.model.view(self.now, jobs, orders)


def job(number: int, *, is_waiting: bool = False) -> JobView:
    return JobView(number, f"70_{number}", is_waiting)


def test_a_sweep_that_has_just_begun_knows_nothing_yet() -> None:
    view = Story().view()
    assert (view.name, view.sweep, view.metric, view.url) == ("app", "me/proj/ab12", "loss", RECORD.url)
    assert (view.ended, view.running, view.queued, view.total) == (0, 0, 10, 10)
    assert (view.per_min, view.left_s, view.best, view.agents, view.failures) == (None, None, None, (), ())
    assert view.elapsed_s == 0.0


def test_trials_are_counted_by_their_states() -> None:
    story = Story().agent(0).agent(1).runs(0, 0.5).runs(1, state="failed").runs(2, state="stopped")
    story.runs(3, state="failed", final=False).claims(0, 4).claims(1, 5)
    view = story.view()
    assert (view.finished, view.failed, view.stopped, view.running) == (1, 1, 1, 2)
    assert view.ended == 3
    assert view.queued == 5, "trial 3, which is retried, and 4 that nobody has claimed"


def test_only_the_server_knows_how_many_trials_an_open_sweep_has() -> None:
    view = Story(expected=None).agent(0).runs(0, 0.5).claims(0, 1).view()
    assert (view.total, view.queued, view.running) == (None, 0, 1)
    assert view.left_s is None


# --- time ---


@pytest.mark.parametrize(
    ("to_begin", "running_s", "agents", "trial_s", "left_s"),
    [
        pytest.param(0, [], 0, None, 0.0, id="everything has ended"),
        pytest.param(5, [], 2, None, None, id="no trial has ended yet"),
        pytest.param(5, [], 0, 10.0, None, id="nobody works"),
        pytest.param(6, [], 2, 10.0, 30.0, id="three rounds of two"),
        pytest.param(6, [4.0, 6.0], 2, 10.0, 35.0, id="and what is left of two that run"),
        pytest.param(0, [1.0, 6.0], 2, 10.0, 9.0, id="the last to end decides"),
        pytest.param(0, [60.0], 1, 10.0, 0.0, id="it may end at any moment"),
        pytest.param(1, [9.0] * 99, 100, 10.0, 1.09, id="a hundred agents"),
    ],
)
def test_the_time_to_the_end_is_what_is_left_divided_among_the_agents(
    to_begin: int, running_s: list[float], agents: int, trial_s: float | None, left_s: float | None
) -> None:
    estimate = time_to_end_s(to_begin, running_s, agents, trial_s)
    assert estimate == (None if left_s is None else pytest.approx(left_s))


@given(
    st.integers(0, 50),
    st.lists(st.floats(0, 100), max_size=8),
    st.integers(1, 9),
    st.floats(0.1, 100),
    st.integers(0, 9),
)
def test_more_agents_never_take_longer(
    to_begin: int, running_s: list[float], agents: int, trial_s: float, more: int
) -> None:
    few, many = (time_to_end_s(to_begin, running_s, count, trial_s) for count in (agents, agents + more))
    assert few is not None
    assert many is not None
    assert 0 <= many <= few


def test_the_time_to_the_end_is_by_the_trials_that_ended_and_the_agents_of_now() -> None:
    story = Story().job(0).job(1).agent(0).agent(1).runs(0, duration_s=10.0).runs(1, duration_s=30.0)
    story.claims(0, 2).claims(1, 3).at(1005.0)
    assert story.view([job(0), job(1)]).left_s == (6 * 20 + 15 + 15) / 2
    assert story.view([job(0), job(1), job(2, is_waiting=True)]).left_s == 75.0, "agents in the queue don't count"
    assert story.view([job(0)]).left_s == 6 * 20 + 15, "what the other one left is somebody's, but not now's"


def test_during_a_pause_nobody_knows_how_long_it_takes() -> None:
    story = Story().agent(0).runs(0).claims(0, 1)
    view = story.view(orders=Orders(paused=True))
    assert (view.state, view.left_s) == ("paused", None)


def test_a_drained_sweep_ends_with_its_running_trials() -> None:
    story = Story().agent(0).runs(0).claims(0, 1).at(1004.0)
    view = story.view(orders=Orders(draining=True))
    assert (view.state, view.left_s) == ("draining", 6.0)


def test_trials_per_minute_are_those_since_the_agents_began() -> None:
    story = Story().agent(0)
    for trial in range(4):
        story.at(1015.0 + 15 * trial).runs(trial)
    assert story.view().per_min == 4.0
    assert story.at(1120.0).view().per_min == 2.0
    assert story.view().elapsed_s == 120.0


def test_of_many_trials_the_last_ones_say_how_fast_it_is() -> None:
    story = Story(expected=500).agent(0)
    for trial in range(100):
        story.at(1000.0 + 60 * trial).runs(trial)
    for trial in range(100, 200):
        story.at(story.now + 1).runs(trial)
    assert story.view().per_min == 60.0


def test_a_night_without_agents_is_no_time_that_trials_took() -> None:
    story = Story().agent(0).at(1060.0).runs(0).leaves(0).at(90_000.0).agent(1)
    assert story.view().per_min is None
    assert story.at(90_060.0).claims(1, 1).ends(1).view().per_min == 1.0


def test_clocks_that_differ_make_no_negative_times() -> None:
    story = Story().at(2000.0).agent(0, job_end=2100.0).claims(0, 0)
    (row,) = story.model.view(1990.0).agents
    assert (row.trial_s, row.job_left_s) == (0.0, 110.0)
    (row,) = story.model.view(2500.0).agents
    assert row.job_left_s == 0.0


# --- the best trial ---


@pytest.mark.parametrize(("goal", "best"), [("minimize", 1), ("maximize", 0)])
def test_the_best_trial_is_by_the_metric_s_goal(goal: str, best: int) -> None:
    story = Story(goal=goal).runs(0, 0.5).runs(1, 0.25).runs(2, 0.25).runs(3).runs(4, float("nan"))
    story.runs(5, -1.0 if goal == "minimize" else 9.0, state="failed")
    view = story.view()
    assert view.best is not None
    assert (view.best.trial, view.best.value) == (best, [0.5, 0.25][best])


def test_the_best_trial_shows_what_differs_between_trials() -> None:
    assert Story().runs(2, 0.5).view().best == BestView(2, 0.5, "lr=0.2 opt.m=1")


def test_a_best_trial_that_is_run_again_is_the_best_no_more_until_it_has_ended() -> None:
    story = Story().runs(0, 0.5).runs(1, 0.25).claims(0, 1)
    assert story.view().best == BestView(0, 0.5, "lr=0.0 opt.m=1")
    story.ends(1, 0.75).runs(2, 0.6)
    assert story.view().best == BestView(0, 0.5, "lr=0.0 opt.m=1")


@given(st.lists(st.tuples(st.integers(0, 5), st.one_of(st.none(), st.sampled_from([0.0, 1.0, 2.0, float("nan")])))))
def test_the_best_trial_is_the_one_that_a_look_at_all_finds(told: list[tuple[int, float | None]]) -> None:
    story = Story()
    for trial, value in told:
        story.runs(trial, value)
        known = {n: t.metrics["loss"] for n, t in story.history.trials.items() if t.metrics.get("loss") in (0, 1, 2)}
        best = story.view().best
        expected = min(known, key=lambda n: (known[n], n), default=None)
        assert (best.trial if best is not None else None) == expected


def test_values_from_runs_are_one_harmless_line() -> None:
    story = Story().claims(0, 0)
    story.history.trials[0].trial.args["lr"] = "\x1b[2J\n"  # type: ignore[index]
    story.ends(0, 0.5)
    best = story.view().best
    assert best is not None
    assert best.parameters == "lr=\ufffd[2J  opt.m=1"


# --- agents ---


def test_agents_and_jobs_have_a_row_each_in_the_order_of_their_jobs() -> None:
    story = Story().job(0).job(1).job(2).job(10).agent(0, job_end=1600.0).agent(1).claims(0, 3).at(1012.0)
    rows = story.view([job(0), job(1), job(2), job(10, is_waiting=True)]).agents
    assert rows == (
        AgentView("agent-0", "70_0", "n0", "running", 3, 12.0, 588.0),
        AgentView("agent-1", "70_1", "n1", "idle"),
        AgentView("agent-2", "70_2", "", "starting"),
        AgentView("agent-10", "70_10", "", "waiting"),
    )


def test_agents_without_a_job_on_record_are_in_somebody_s_process() -> None:
    (row,) = Story().agent(0).claims(0, 7).view().agents
    assert row == AgentView("agent-0", "", "n0", "running", 7, 0.0)


def test_agents_that_ended_or_died_are_gone() -> None:
    story = Story().job(0).job(1).job(2).agent(0).agent(1).agent(2).claims(2, 0).leaves(0)
    story.tell("agent_died", "supervisor", agent="agent-1")
    assert [row.name for row in story.view([job(1), job(2)]).agents] == ["agent-1", "agent-2"]
    assert story.view([job(1), job(2)]).agents[0].state == "starting"
    assert story.view([]).agents == (), "and so are those whose jobs are gone"


def test_an_agent_whose_job_was_put_back_into_the_queue_waits() -> None:
    story = Story().job(0).agent(0).claims(0, 0)
    assert story.view([job(0, is_waiting=True)]).agents == (AgentView("agent-0", "70_0", "", "waiting"),)


# --- failures ---


def test_the_last_failures_name_the_log_that_says_most() -> None:
    story = Story().job(0).agent(0)
    story.logs = {"/d/1/trial.log"}
    story.runs(0, state="failed", error_line="first").runs(1, state="failed", error_line="a\nb", output_dir="/d/1")
    story.runs(2, state="failed", error_line="killed", output_dir="/gone", final=False).runs(3, state="failed")
    assert story.view().failures == (
        FailureView(1, "a b", "/d/1/trial.log", True),
        FailureView(2, "killed", "/0.err", False),
        FailureView(3, "", "/0.err", True),
    )


def test_a_failure_that_was_made_good_is_shown_no_more() -> None:
    story = Story().runs(0, state="failed", final=False).runs(1, state="failed", final=False)
    story.runs(1, state="failed", error_line="again").runs(0, 0.5)
    assert story.view().failures == (FailureView(1, "again", None, True),)


# --- cost ---


def story_of(trials: int) -> Story:
    story = Story(expected=10_000)
    for agent in range(5):
        story.job(agent).agent(agent)
    for trial in range(trials):
        story.now += 1
        story.claims(trial % 5, trial).ends(trial, float(trial))
    return story


def test_a_view_takes_no_more_steps_with_thirty_times_the_trials() -> None:
    jobs = [job(number) for number in range(5)]
    few, many = (story_of(count) for count in (100, 3000))
    for story in (few, many):
        story.view(jobs)
    assert steps_of(lambda: many.view(jobs)) == steps_of(lambda: few.view(jobs))


def test_an_event_takes_no_more_steps_with_thirty_times_the_trials() -> None:
    few, many = (story_of(count).claims(0, 9_999) for count in (100, 3000))
    assert steps_of(lambda: many.ends(9_999, 0.5)) == steps_of(lambda: few.ends(9_999, 0.5))


def test_logs_are_looked_for_once(tmp_path: Path) -> None:
    looks: list[Path] = []
    story = Story()
    story.model = ProgressModel(story.record, story.history, exists=lambda path: bool(looks.append(path)))  # type: ignore[func-returns-value]
    story.agent(0).runs(0, state="failed", output_dir="/d")
    for _ in range(3):
        story.view()
    assert looks == [Path("/d/trial.log")]
