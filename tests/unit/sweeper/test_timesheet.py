"""Where the agents' time went, by the events of their ledger."""

from __future__ import annotations

from typing import Any

import pytest

from hydra_plugins.hydra_wandb_sweeper._timesheet import Timesheet, TimeSpent


def event(name: str, time_s: float, by: str = "agent-0", **details: Any) -> dict[str, Any]:
    return {"event": name, "time": time_s, "by": by, **details}


def ended(time_s: float, trial: int, duration_s: float | None, by: str = "agent-0") -> dict[str, Any]:
    return event("ended", time_s, by, trial=trial, duration_s=duration_s)


BEGIN = [event("agent_started", 10), event("claimed", 12, trial=0)]


@pytest.mark.parametrize(
    ("events", "trial_s", "agent_s"),
    [
        pytest.param(
            [*BEGIN, ended(17, 0, 4.5), event("agent_ended", 20)], 4.5, 10.0, id="a trial and its agent ended"
        ),
        pytest.param([*BEGIN, ended(17, 0, None), event("agent_ended", 20)], 5.0, 10.0, id="nobody took its time"),
        pytest.param(
            [*BEGIN, event("preempting", 16, trial=0), event("offered", 18, trial=0), event("agent_ended", 20)],
            6.0,
            10.0,
            id="it was handed over",
        ),
        pytest.param(
            [*BEGIN, ended(17, 0, 5.0), event("offered", 17, trial=0), event("agent_ended", 20)],
            5.0,
            10.0,
            id="it failed and is retried",
        ),
        pytest.param(
            [
                *BEGIN,
                event("offered", 900, "supervisor", trial=0),
                event("agent_died", 901, "supervisor", agent="agent-0"),
            ],
            0.0,
            2.0,
            id="its agent died without a word",
        ),
        pytest.param([*BEGIN, ended(900, 0, None, "supervisor")], 0.0, 2.0, id="others have recorded its end"),
        pytest.param(
            [*BEGIN, event("agent_started", 11, "agent-1"), ended(17, 0, 5.0), event("agent_ended", 31, "agent-1")],
            5.0,
            27.0,
            id="one agent of two is at work",
        ),
    ],
)
def test_time_is_divided(events: list[dict[str, Any]], trial_s: float, agent_s: float) -> None:
    sheet = Timesheet()
    for one in events:
        sheet.add(one)
    spent = sheet.spent()
    assert (spent.trial_s, spent.agent_s) == (trial_s, agent_s)
    assert spent.wall_s == events[-1]["time"] - 10


@pytest.mark.parametrize(
    ("spent", "share"), [(TimeSpent(9, 4, 8), 0.5), (TimeSpent(9, 0, 0), None), (TimeSpent(9, 9, 8), 1)]
)
def test_utilisation_is_the_share_of_trials(spent: TimeSpent, share: float | None) -> None:
    assert spent.utilisation == share


def test_nothing_has_happened_yet() -> None:
    assert (Timesheet().first_s, Timesheet().spent()) == (None, TimeSpent(0.0, 0.0, 0.0))
