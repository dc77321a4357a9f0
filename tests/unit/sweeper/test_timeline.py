"""Which agent ran which trial when, as a ledger's events tell it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hydra_plugins.hydra_wandb_sweeper._events import EventReader
from hydra_plugins.hydra_wandb_sweeper._history import History
from hydra_plugins.hydra_wandb_sweeper._ledger import Ledger, Trial
from hydra_plugins.hydra_wandb_sweeper._takeover import take_over
from hydra_plugins.hydra_wandb_sweeper._timeline import HANDED_OVER, LOST, Timeline
from tests.unit.sweeper.test_ledger import RECORD

STARTED: dict[str, Any] = {
    "host": "h",
    "job_name": "812_3",
    "job_number": 0,
    "restarts": 0,
    "node": None,
    "pid": 1,
    "process_start": "1",
}
RESULT: dict[str, Any] = {"metrics": {}, "error_line": None, "output_dir": None, "duration_s": 1.0}
FIRST = Trial(0, 0, "r0")
SECOND = Trial(0, 1, "r0", resumes=True)


class Tale:
    """A real ledger on a clock that a test moves: one tick per event."""

    def __init__(self, directory: Path) -> None:
        self.now = 100.0
        self.directory = directory
        Ledger.create(directory, RECORD, "supervisor")

    def by(self, writer: str) -> Ledger:
        return Ledger(self.directory, writer, clock=self._tick)

    def _tick(self) -> float:
        self.now += 1
        return self.now

    def starts(self, agent: str) -> Ledger:
        ledger = self.by(agent)
        ledger.record("agent_started", **STARTED)
        return ledger

    def timeline(self) -> Timeline:
        timeline = Timeline()
        timeline.add(EventReader(self.directory).new_events())
        return timeline

    def told(self) -> list[tuple[str, str | None, list[tuple[str, str | None]]]]:
        """Agents, how they ended, and their trials with how these ended."""
        agents = self.timeline().agents
        return [(a.name, a.ended, [(t.run_id, t.how) for t in a.trials]) for a in agents]

    def dies(self, agent: str, max_retries: int = 1) -> None:
        supervisor, history = self.by("supervisor"), History()
        history.add(EventReader(self.directory).new_events())
        take_over(supervisor, history, agent, max_retries)
        supervisor.record("agent_died", agent=agent)


@pytest.fixture
def tale(tmp_path: Path) -> Tale:
    return Tale(tmp_path)


def leaves(agent: Ledger) -> None:
    agent.record("agent_ended", reason="done", trials=1, gave_up=False, found_no_more=True)


@pytest.mark.parametrize(("state", "how"), [("finished", "finished"), ("failed", "failed"), ("stopped", "killed")])
def test_a_trial_s_time_in_an_agent_ends_as_the_agent_says(tale: Tale, state: str, how: str) -> None:
    agent = tale.starts("agent-0")
    agent.begin(FIRST)
    assert tale.told() == [("agent-0", None, [("r0", None)])]
    agent.record("ended", FIRST, state=state, final=True, **RESULT)
    leaves(agent)
    assert tale.told() == [("agent-0", "finished", [("r0", how)])]
    (span,) = tale.timeline().agents
    assert span.job == "812_3"
    (trial,) = span.trials
    assert trial.ended_at is not None
    assert span.ended_at is not None
    assert span.began_at < trial.began_at < trial.ended_at < span.ended_at


def test_a_failed_trial_that_is_run_again_is_there_twice(tale: Tale) -> None:
    one, other = tale.starts("agent-0"), tale.starts("agent-1")
    one.begin(FIRST)
    one.record("ended", FIRST, state="failed", final=False, **RESULT)
    one.offer(SECOND, "retry 1 of 1")
    other.begin(SECOND)
    assert tale.told() == [("agent-0", None, [("r0", "failed")]), ("agent-1", None, [("r0", None)])]
    assert tale.timeline().last[0].agent == "agent-1"


def test_a_trial_that_its_agent_hands_over_is_not_lost(tale: Tale) -> None:
    agent = tale.starts("agent-0")
    agent.begin(FIRST)
    agent.record("preempting", FIRST, reason="the time limit of its job is near")
    agent.offer(SECOND, "the time limit of its job is near")
    assert tale.told() == [("agent-0", None, [("r0", HANDED_OVER)])]


@pytest.mark.parametrize("max_retries", [0, 1])
def test_a_trial_of_an_agent_that_died_is_lost(tale: Tale, max_retries: int) -> None:
    tale.starts("agent-0").begin(FIRST)
    tale.dies("agent-0", max_retries)
    assert tale.told() == [("agent-0", "died", [("r0", LOST)])]


def test_an_agent_that_died_right_after_its_trial_has_lost_nothing(tale: Tale) -> None:
    agent = tale.starts("agent-0")
    agent.begin(FIRST)
    agent.result_path(FIRST).write_text(
        '{"state": "finished", "metrics": {}, "error_line": null, "output_dir": null}'
    )
    tale.dies("agent-0")
    assert tale.told() == [("agent-0", "died", [("r0", "finished")])]


def test_an_agent_that_its_launcher_ran_again_is_there_twice(tale: Tale) -> None:
    leaves(tale.starts("agent-0"))
    tale.starts("agent-0").begin(FIRST)
    assert tale.told() == [("agent-0", "finished", []), ("agent-0", None, [("r0", None)])]
