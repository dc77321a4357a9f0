"""A job of the launcher: the process that hosts one or several agents. Picklable, and without any credential."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import configure_log
from omegaconf import DictConfig

from ._agent import Agent, AgentSettings
from ._client import SweepClient
from ._isolation import Wakeup, fork_hazard, make_isolation
from ._ledger import Ledger
from ._trial import TaskContext

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AgentJob:
    """What a job does. directory: the sweep directory, absolute."""

    context: TaskContext
    directory: Path
    settings: AgentSettings
    isolation: str
    agents_per_job: int
    server_patience_s: float

    def run(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """Run one agent per name, side by side if there are several; returns what each did (AgentSummary)."""
        if len(names) == 1:
            return [self._run_agent(names[0])]
        return self._run_side_by_side(names)

    def _run_agent(self, name: str) -> dict[str, Any]:
        ledger = Ledger(self.directory, name)
        sweep = ledger.sweep()
        wakeup = Wakeup()
        isolation = make_isolation(self._safe_isolation(), self.context, sweep, wakeup, scratch=ledger.job_path(name))
        client = SweepClient(sweep.server.open(), patience_s=self.server_patience_s)
        agent = Agent(name, sweep, self.settings, client=client, ledger=ledger, isolation=isolation, wakeup=wakeup)
        with _on_stop_signals(lambda name: agent.stop(f"it was told to by {name}")):
            return asdict(agent.run())

    def _safe_isolation(self) -> str:
        hazard = fork_hazard() if self.isolation == "fork" else None
        if hazard is None:
            return self.isolation
        log.warning("Trials get a new interpreter each instead of being forked: %s.", hazard)
        return "spawn"

    def _run_side_by_side(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """Run each agent in a process of its own, so that one that dies leaves the others alone."""
        fork = multiprocessing.get_context("fork")
        queue = fork.SimpleQueue()
        agents = [fork.Process(target=self._report, args=(name, queue), name=name) for name in names]
        for agent in agents:
            agent.start()

        def stop_all(_name: str) -> None:
            for agent in agents:
                agent.terminate()

        with _on_stop_signals(stop_all):
            for agent in agents:
                agent.join()
        summaries = []
        while not queue.empty():
            summaries.append(queue.get())
        return summaries

    def _report(self, name: str, queue: Any) -> None:
        queue.put(self._run_agent(name))


@dataclass(frozen=True)
class LauncherTask:
    """A job as the task function of any Hydra launcher; hydra.job.num is the job's number."""

    job: AgentJob

    def __call__(self, config: DictConfig) -> list[dict[str, Any]]:
        """Host this job's agents."""
        return self.job.run(agent_names(HydraConfig.get().job.num, self.job.agents_per_job))


@dataclass(frozen=True)
class SubmititTask:
    """A job as submitit runs it."""

    job: AgentJob

    def __call__(self, number: int) -> list[dict[str, Any]]:
        """Host this job's agents."""
        self.job.context.restore()
        config = self.job.context.config
        configure_log(config.hydra.hydra_logging, config.hydra.verbose)
        return self.job.run(agent_names(number, self.job.agents_per_job))

    def checkpoint(self, number: int) -> Any:
        """Called by submitit when the job runs into its time limit: go on in the next job."""
        import submitit

        return submitit.helpers.DelayedSubmission(self, number)


def agent_names(job_number: int, agents_per_job: int) -> list[str]:
    """Return the names of a job's agents, unique in the sweep."""
    if agents_per_job == 1:
        return [f"agent-{job_number}"]
    return [f"agent-{job_number}-{i}" for i in range(agents_per_job)]


@contextlib.contextmanager
def _on_stop_signals(handle: Callable[[str], None]) -> Iterator[None]:
    """While active, SIGTERM and Ctrl-C call `handle` with their name instead of ending this process anywhere."""
    # Signal handlers can only be set in the main thread; elsewhere whoever owns that decides.
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handler(number: int, _frame: FrameType | None) -> None:
        handle(signal.Signals(number).name)

    before = {number: signal.signal(number, handler) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
