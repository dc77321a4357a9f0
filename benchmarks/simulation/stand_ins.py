"""What the project's code talks to in a simulation: the server, a trial's process, SLURM's queue."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra_plugins.hydra_wandb_sweeper._client import Command, SweepInfo, SweepRef
from hydra_plugins.hydra_wandb_sweeper._errors import SweepFailedError
from hydra_plugins.hydra_wandb_sweeper._events import EventReader
from hydra_plugins.hydra_wandb_sweeper._files import write_whole
from hydra_plugins.hydra_wandb_sweeper._job import AgentJob
from hydra_plugins.hydra_wandb_sweeper._ledger import Ledger, Trial
from hydra_plugins.hydra_wandb_sweeper._outcome import FAILED, FINISHED
from hydra_plugins.hydra_wandb_sweeper._settle import failed_result

from .cluster import Cluster, Job
from .timeline import Killed, Process
from .workload import Attempt, Workload

# From one trial's end to the next one's work, in a warm agent.
NEXT_TRIAL_S = 0.5


@dataclass
class Server:
    """Hands out so many trials, run0, run1, …"""

    left: int
    _given: int = 0

    def create_agent(self, ref: SweepRef, host: str) -> str | None:
        return "agent"

    def create_own_agent(self, ref: SweepRef, host: str, label: str, job: str | None) -> str | None:
        return "agent"

    def heartbeat(self, agent_id: str, live_runs: tuple[str, ...], *, patient: bool = True) -> list[Command]:
        if live_runs:
            return []
        if self._given == self.left:
            return [Command("exit")]
        self._given += 1
        return [Command("run", f"run{self._given - 1}", {})]

    def get_sweep(self, ref: SweepRef) -> SweepInfo:
        return SweepInfo(ref, "", "RUNNING" if self._given < self.left else "FINISHED", {})

    def record_death(self, ref: SweepRef, run_id: str, exit_code: int, reason: str) -> Mapping[str, Any]:
        return {}

    def record_end(self, ref: SweepRef, run_id: str, exit_code: int) -> None: ...

    def end_sweep(self, ref: SweepRef) -> None: ...

    def end_agent(self, agent_id: str, how: str) -> None: ...

    def mark_preempting(self, ref: SweepRef, run_id: str) -> None: ...


class SharedLedger(Ledger):
    """An agent's. What it asks for how long trials took is read from memory, not by each agent from all files."""

    def __init__(
        self, directory: Path, writer: str, clock: Callable[[], float], events: list[dict[str, Any]]
    ) -> None:
        super().__init__(directory, writer, clock)
        self._events = events

    def record(self, event: str, trial: Trial | None = None, **details: Any) -> None:
        super().record(event, trial, **details)
        self._events.append({"event": event, **details})

    def reader(self) -> EventReader:
        return SharedReader(self._events)  # type: ignore[return-value]


@dataclass
class SharedReader:
    """See _ledger.EventReader."""

    events: list[dict[str, Any]]
    _read: int = 0

    def new_events(self) -> list[dict[str, Any]]:
        new = self.events[self._read :]
        self._read += len(new)
        return new


@dataclass
class Wakeup:
    """An agent's, in simulated time."""

    process: Process
    is_set: bool = False

    def set(self) -> None:
        self.is_set = True
        self.process.wake()

    def wait(self, timeout_s: float) -> bool:
        if not self.is_set:
            self.process.wait(timeout_s)
        return self.is_set


@dataclass
class TrialProcess:
    """An attempt that runs. See _isolation.TrialProcess."""

    workload: Workload
    attempt: Attempt
    wakeup: Wakeup
    result_path: Path
    failure: str | None = None
    exit_code: int = 0
    has_ended: bool = False

    def wait(self, timeout_s: float) -> bool:
        if not self.has_ended and self._left_s > 0:
            with self._dying_with_agent():
                self.wakeup.wait(min(self._left_s, timeout_s))
        if not self.has_ended and self._left_s <= 0:
            self._end()
        return self.has_ended

    def preempt(self, grace_s: float) -> None:
        """A trial that can be resumed keeps its work at once; another goes on as long as it may."""
        if not self.workload.scenario.resumable:
            with self._dying_with_agent():
                self.wakeup.process.wait(max(0.0, min(self._left_s, grace_s)))
        if self._left_s <= 0:
            self._end()
            return
        self.workload.leave(self.attempt, warned=True)
        self.has_ended = True

    def terminate(self, grace_s: float) -> None:
        raise AssertionError("nobody stops trials here")

    @property
    def _left_s(self) -> float:
        return self.attempt.ends_s - self.wakeup.process.clock()

    @contextmanager
    def _dying_with_agent(self) -> Iterator[None]:
        try:
            yield
        except Killed:
            self.workload.leave(self.attempt)
            raise

    def _end(self) -> None:
        finished = self.workload.leave(self.attempt)
        self.has_ended, self.exit_code = True, int(not finished)
        result = {**failed_result("crashed"), "state": FINISHED if finished else FAILED}
        write_whole(self.result_path, result)


@dataclass
class Isolation:
    """See _isolation.Isolation."""

    workload: Workload
    wakeup: Wakeup
    processes: list[Process]

    def wait_until_clear(self) -> None:
        """See Isolation.wait_until_clear."""

    def start(self, trial: Trial, result_path: Path) -> TrialProcess:
        attempt = self.workload.begin(int(trial.run_id.removeprefix("run")), NEXT_TRIAL_S)
        return TrialProcess(self.workload, attempt, self.wakeup, result_path)


@dataclass
class Handle:
    """See _dispatch.JobHandle."""

    number: int
    job: Job

    @property
    def job_id(self) -> str:
        return str(self.number)

    def has_ended(self) -> bool:
        return self.job.has_ended

    def is_waiting(self) -> bool:
        return self.job.state == "waiting"

    def describe(self) -> str:
        return f"job {self.number}"

    def record(self) -> None: ...


@dataclass
class Dispatch:
    """See _dispatch.Dispatch. make_job: by a job's number."""

    cluster: Cluster
    make_job: Callable[[int], Job]
    blocks: bool = False

    def start(self, job: AgentJob, numbers: Sequence[int], avoid: Sequence[str] = ()) -> list[Handle]:
        """As many as the cluster accepts, as by SubmititDispatch, which finds that out by halving."""
        if not self.cluster.room:
            raise SweepFailedError("QOSMaxSubmitJobPerUserLimit", is_limit=True)
        return [Handle(n, self.cluster.submit(self.make_job(n))) for n in numbers[: self.cluster.room]]

    def adopt(self, jobs: Iterable[Any]) -> list[Handle]:
        return []

    def look_again(self) -> None: ...

    def cancel(self, jobs: Sequence[Handle], *, waiting_only: bool = False) -> None:
        for handle in jobs:
            if not waiting_only or handle.is_waiting():
                self.cluster.cancel(handle.job)

    def end_hung(self, job: Any, agents: Any) -> None:
        raise AssertionError("no agent hangs here")
