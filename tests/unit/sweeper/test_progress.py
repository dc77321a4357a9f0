"""When something is said, and when a display is drawn."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from hydra_plugins.hydra_wandb_sweeper._control import Orders
from hydra_plugins.hydra_wandb_sweeper._follow import JobsFromAfar
from hydra_plugins.hydra_wandb_sweeper._history import History, JobRecord
from hydra_plugins.hydra_wandb_sweeper._progress import Progress
from hydra_plugins.hydra_wandb_sweeper._progress_view import JobView
from hydra_plugins.hydra_wandb_sweeper._template import Template
from tests.unit.sweeper.test_progress_view import Story


@dataclass
class FakeDisplay:
    """Notes what is asked of it."""

    begun: int = 0
    drawn: int = 0
    ended: int = 0
    is_on: bool = False
    is_closed: bool = False

    def begin(self) -> None:
        self.begun += 1
        self.is_on = True

    def update(self, shown: Any) -> None:
        self.drawn += 1
        self.is_on = not self.is_closed

    def end(self) -> None:
        self.ended += 1


@dataclass
class Watched:
    """A sweep that is watched, on a clock of its own."""

    display: FakeDisplay | None = None
    tells_events: bool = True
    story: Story = field(default_factory=Story)
    now_s: float = 0.0
    asked: int = 0

    def __post_init__(self) -> None:
        self.progress = Progress(
            self.story.record, self.story.history, self.display,  # type: ignore[arg-type]
            tells_events=self.tells_events, clock=lambda: 1000.0 + self.now_s, timer=lambda: self.now_s,
        )  # fmt: skip

    def happens(self, event: str, **details: Any) -> None:
        told = [{"event": event, "by": "agent-0", "time": 1000.0 + self.now_s, **details}]
        self.story.history.add(told)
        self.progress.show(told)

    def trial(self, number: int, *, ends: bool = True) -> None:
        about = {"trial": number, "attempt": 0, "run_id": f"r{number}"}
        self.happens("claimed", **about, args={"lr": 0.1, "opt": {"m": 1}}, failures=0, resumes=False)
        if ends:
            result = {"metrics": {"loss": 0.5}, "error_line": None, "output_dir": None, "duration_s": 1.0}
            self.happens("ended", **about, **result, state="finished", final=True)

    def look(self, now_s: float) -> None:
        def jobs() -> list[JobView]:
            self.asked += 1
            return []

        self.now_s = now_s
        self.progress.look(jobs, Orders)


@pytest.fixture(autouse=True)
def everything_is_heard(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def test_in_silence_a_line_says_every_30_s_how_far_it_is(caplog: pytest.LogCaptureFixture) -> None:
    watched = Watched()
    for now_s in range(100):
        watched.look(float(now_s))
    assert len(caplog.messages) == 3
    assert all(message.startswith("0/10 trial(s) have ended") for message in caplog.messages)
    assert watched.asked == 3, "jobs are asked for only when something is shown"


def test_what_happens_is_said_at_once_and_breaks_the_silence(caplog: pytest.LogCaptureFixture) -> None:
    watched = Watched()
    watched.look(29.0)
    watched.trial(0)
    watched.look(58.0)
    assert caplog.messages == ["[1/10] trial 0 finished, loss=0.5 (lr=0.1 opt.m=1)"]
    watched.look(59.0)
    assert len(caplog.messages) == 2
    assert "best loss=0.5 (trial 0: lr=0.1 opt.m=1)" in caplog.messages[1]


def test_a_line_names_as_many_of_the_trial_s_parameters_as_fit(caplog: pytest.LogCaptureFixture) -> None:
    watched = Watched()
    watched.story.record = replace(
        watched.story.record, template=Template(()), parameters={f"p{n}": {"values": ["a", "b"]} for n in range(30)}
    )
    watched.__post_init__()
    about = {"trial": 0, "attempt": 0, "run_id": "r0"}
    watched.happens("claimed", **about, args={f"p{n}": "a" * n for n in range(30)}, failures=0, resumes=False)
    result = {"metrics": {"loss": 0.5}, "error_line": None, "output_dir": None, "duration_s": 1.0}
    watched.happens("ended", **about, **result, state="finished", final=True)
    (line,) = caplog.messages
    assert line.startswith("[1/10] trial 0 finished, loss=0.5 (p0= p1=a p2=aa ")
    assert line.endswith(" …)")
    assert 100 < len(line) < 150


def test_where_agents_say_what_happens_only_the_silence_is_broken(caplog: pytest.LogCaptureFixture) -> None:
    watched = Watched(tells_events=False)
    watched.look(29.0)
    watched.trial(0)
    watched.happens("offered", trial=0, attempt=1, reason="retry")
    watched.look(58.0)
    assert caplog.messages == []
    watched.look(59.0)
    assert len(caplog.messages) == 1


def test_a_display_is_drawn_twice_a_second_at_most_once_a_trial_has_begun() -> None:
    display = FakeDisplay()
    watched = Watched(display)
    watched.look(0.0)
    assert display.begun == 0, "the first trial is not to wait for it"
    watched.trial(0, ends=False)
    for step in range(20):
        watched.look(0.1 * (step + 1))
    assert (display.begun, display.drawn) == (1, 4)


def test_a_display_is_drawn_soon_while_jobs_wait_in_the_queue() -> None:
    display = FakeDisplay()
    watched = Watched(display)
    for step in range(21):
        watched.look(0.1 * step)
    assert (display.begun, display.drawn) == (1, 1)


def test_beside_a_display_the_line_is_for_files_and_pipes(caplog: pytest.LogCaptureFixture) -> None:
    watched = Watched(FakeDisplay())
    watched.look(30.0)
    (record,) = caplog.records
    assert record.is_shown_in_display  # type: ignore[attr-defined]


def test_once_closed_there_is_no_display_any_more(caplog: pytest.LogCaptureFixture) -> None:
    display = FakeDisplay()
    watched = Watched(display)
    watched.progress.close()
    watched.progress.close()
    watched.look(10.0)
    assert (display.begun, display.ended) == (0, 1)


def test_a_closed_terminal_is_not_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    display = FakeDisplay(is_closed=True)
    watched = Watched(display)
    for now_s in (2.0, 3.0, 4.0, 32.0):
        watched.look(now_s)
    assert (display.begun, display.ended) == (1, 1)
    assert len(caplog.messages) == 1, "lines go on"


def test_who_comes_later_is_told_how_far_it_is(caplog: pytest.LogCaptureFixture) -> None:
    story = Story().agent(0).runs(0, 0.5).runs(1, 0.25)
    progress = Progress(story.record, story.history)
    events = [
        {
            "event": "ended",
            "by": "agent-0",
            "time": 1.0,
            "trial": n,
            "state": "finished",
            "final": True,
            "duration_s": 1.0,
        }
        for n in range(2)
    ]
    progress.catch_up(events)
    progress.show_how_far()
    assert caplog.messages == ["2/10 trial(s) have ended so far."]


def test_errors_from_runs_are_logged_as_one_line(caplog: pytest.LogCaptureFixture) -> None:
    watched = Watched()
    watched.trial(0, ends=False)
    watched.happens(
        "ended", trial=0, attempt=0, run_id="r0", metrics={}, error_line="a\x1b[2J\nb", output_dir=None,
        duration_s=1.0, state="failed", final=True,
    )  # fmt: skip
    assert caplog.messages == ["[1/10] trial 0 failed (lr=0.1 opt.m=1): a\ufffd[2J b"]


def test_jobs_of_another_supervisor_are_asked_for_now_and_then() -> None:
    history, now_s, asked = History(), [0.0], []

    def states(jobs: Any) -> dict[int, str]:
        asked.append([job.number for job in jobs])
        return {number: "PENDING" if number else "RUNNING" for number in asked[-1]}

    jobs = JobsFromAfar(history, states, lambda: now_s[0])
    history.jobs[0] = JobRecord(0, "7_0", "slurm", "h", "l")
    for second in range(31):
        now_s[0] = float(second)
        views = jobs()
    assert views == [JobView(0, "7_0", False)]
    assert len(asked) == 3
    history.jobs[1] = JobRecord(1, "7_1", "slurm", "h", "l")
    now_s[0] = 33.0
    assert jobs() == [JobView(0, "7_0", False), JobView(1, "7_1", True)], "new jobs are asked for sooner"
