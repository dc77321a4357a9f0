"""How agents get to run where the launcher waits for them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, cast

import cloudpickle
import pytest
from hydra.core.plugins import Plugins
from hydra.types import HydraContext
from omegaconf import OmegaConf

from hydra_plugins.hydra_wandb_sweeper._dispatch import BlockingDispatch, LauncherDispatch, launches_in_process
from hydra_plugins.hydra_wandb_sweeper._errors import SweepFailedError
from hydra_plugins.hydra_wandb_sweeper._job import AgentJob, LauncherTask
from tests.unit.sweeper.conftest import HydraApp

HERE = __name__


@dataclass(frozen=True)
class Job:
    """Hosts an agent that ends as it is told."""

    was_stopped: bool = False
    error: Exception | None = None

    def run(self, number: int, on_wait: Callable[[], None]) -> list[dict[str, Any]]:
        on_wait()
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


def test_who_looks_on_is_called_from_within_the_agents() -> None:
    dispatch, looks = BlockingDispatch(), []
    dispatch.on_wait = lambda: looks.append(1)
    dispatch.start(cast(AgentJob, Job()), (0, 1))
    assert looks == [1, 1]


@dataclass
class NoLauncher:
    """Runs nothing, and notes which threads there are meanwhile. looks: how many are waited for."""

    looks: int
    looked_on: queue.SimpleQueue[str]

    def launch(self, *_: Any, **__: Any) -> list[Any]:
        self.seen = [self.looked_on.get(timeout=60) for _ in range(self.looks)]
        self.threads = threading.active_count()
        return []


def launch(app: HydraApp, monkeypatch: pytest.MonkeyPatch, overrides: Sequence[str], looks: int) -> NoLauncher:
    launcher = NoLauncher(looks, queue.SimpleQueue())
    plugins = SimpleNamespace(instantiate_launcher=lambda **_: launcher)
    monkeypatch.setattr(Plugins, "instance", lambda: plugins)
    context = HydraContext(config_loader=app.loader, callbacks=cast(Any, SimpleNamespace()))
    dispatch = LauncherDispatch(app.master(*overrides), context, [])
    dispatch.on_wait = lambda: launcher.looked_on.put(threading.current_thread().name)
    dispatch.start(cast(AgentJob, Job()), (0, 1))
    return launcher


def test_while_joblib_has_its_own_processes_a_thread_looks_on(app: HydraApp, monkeypatch: pytest.MonkeyPatch) -> None:
    before = threading.active_count()
    launcher = launch(app, monkeypatch, ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"], looks=2)
    assert threading.main_thread().name not in launcher.seen
    assert threading.active_count() == before, "it has ended with the jobs"


def test_who_looks_on_is_called_in_the_process_that_watches_and_in_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    monkeypatch.setattr("hydra_plugins.hydra_wandb_sweeper._job.HydraConfig.get", lambda: OmegaConf.create(NUMBERED))

    @dataclass(frozen=True)
    class Waiting(Job):
        def run(self, number: int, on_wait: Callable[[], None] | None) -> list[dict[str, Any]]:
            if on_wait is not None:
                on_wait()
            return []

    task = LauncherTask(cast(AgentJob, Waiting()), lambda: looks.append(1))
    task(OmegaConf.create({}))
    assert looks == [1]
    cloudpickle.loads(cloudpickle.dumps(task))(OmegaConf.create({}))
    replace(task, pid=-1)(OmegaConf.create({}))  # forked
    thread = threading.Thread(target=task, args=(OmegaConf.create({}),))
    thread.start()
    thread.join()
    assert looks == [1]


NUMBERED = {"job": {"num": 0}}
ALONE = {"basic": ["+hydra.job.env_set.A=1"], "one at a time": ["hydra/launcher=joblib", "hydra.launcher.n_jobs=1"]}


@pytest.mark.parametrize("overrides", ALONE.values(), ids=list(ALONE))
def test_agents_that_live_in_this_process_are_alone_in_it(
    app: HydraApp, monkeypatch: pytest.MonkeyPatch, overrides: list[str]
) -> None:
    """A thread would keep them from forking."""
    before = threading.active_count()
    assert launch(app, monkeypatch, overrides, looks=0).threads == before
