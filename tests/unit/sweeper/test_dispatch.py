"""How agents get to run where the launcher waits for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import pytest

from hydra_plugins.hydra_wandb_sweeper._dispatch import BlockingDispatch, launches_in_process
from hydra_plugins.hydra_wandb_sweeper._errors import SweepFailedError
from hydra_plugins.hydra_wandb_sweeper._job import AgentJob
from tests.unit.sweeper.conftest import HydraApp

HERE = __name__


@dataclass(frozen=True)
class Job:
    """Hosts an agent that ends as it is told."""

    was_stopped: bool = False
    error: Exception | None = None

    def run(self, number: int) -> list[dict[str, Any]]:
        if self.error is not None:
            raise self.error
        return [{"name": f"agent-{number}", "was_stopped": self.was_stopped}]


def start(job: Job, numbers: Sequence[int] = (0,)) -> list[int]:
    return [handle.number for handle in BlockingDispatch().start(cast(AgentJob, job), numbers)]


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], True),
        (["hydra/launcher=basic"], True),
        (["+hydra.job.env_set.WANDB_TAGS=mine"], False),
        (["hydra/launcher=joblib"], False),
        ([f"hydra.launcher._target_={HERE}.OwnLauncher"], False),
    ],
    ids=["default", "basic", "variables", "joblib", "a user's own"],
)
def test_only_hydra_s_own_launcher_is_done_without(app: HydraApp, overrides: list[str], expected: bool) -> None:
    assert launches_in_process(app.master(*overrides)) is expected


class OwnLauncher:
    """Of a user."""


def test_agents_run_one_after_another_and_have_ended() -> None:
    assert start(Job(), (3, 4)) == [3, 4]


def test_a_stop_of_an_agent_in_this_process_stops_the_sweep() -> None:
    with pytest.raises(KeyboardInterrupt):
        start(Job(was_stopped=True))


def test_an_agent_s_error_is_told_in_its_own_words() -> None:
    with pytest.raises(SweepFailedError, match="The agent failed: ValueError: no such thing"):
        start(Job(error=ValueError("no such thing")))
