"""The process the user started: brings agents to run, takes up what dead ones left, and sees the sweep to its end.

It never hands out work. If it dies, agents go on; only what a dying agent leaves behind waits for the next one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ._client import SweepClient
from ._dispatch import Dispatch, JobHandle
from ._errors import SweepError, SweepFailedError
from ._history import QUEUED, RUNNING, History
from ._job import AgentJob, agent_names
from ._ledger import EventReader, Ledger, SweepRecord, Trial
from ._outcome import FAILED, FINISHED

log = logging.getLogger(__name__)

# Jobs are started again for what is left as long as some trial ends between two starts; this many starts may pass
# without one.
_FRUITLESS_STARTS = 2
# How long cancelled jobs are waited for, so that the results hold what their agents say last.
_CANCEL_S = 10.0


@dataclass(frozen=True)
class Supervisor:
    """poll_s: how often jobs and events are looked at. sleep: waits for poll_s."""

    sweep: SweepRecord
    ledger: Ledger
    client: SweepClient
    dispatch: Dispatch
    job: AgentJob
    history: History
    on_events: Callable[[list[dict[str, Any]]], None]
    poll_s: float = 0.5
    sleep: Callable[[float], None] = time.sleep

    def see_through(self, jobs: int) -> None:
        """Run the sweep to its end. Errors: SweepFailedError if agents can't be brought to run at all."""
        reader = EventReader(self.ledger.directory)
        number, fruitless = 0, 0
        while True:
            ended_before = self._ended_count()
            failure = self._run_jobs(range(number, number + jobs), reader)
            number += jobs
            self._take_up_left_trials(reader)
            fruitless = 0 if self._ended_count() > ended_before else fruitless + 1
            left = self._work_left()
            if not left:
                return
            if self.history.stop_reason or fruitless >= _FRUITLESS_STARTS:
                if failure is not None and not self.history.trials:
                    raise failure
                log.error("%d trial(s) are left, but no agent could run them.", left)
                self._fail_handed_back_trials(reader)
                return
            jobs = min(jobs, left)
            log.warning("%d trial(s) are left after all jobs have ended; starting %d more job(s).", left, jobs)

    def _run_jobs(self, numbers: range, reader: EventReader) -> SweepError | None:
        """Start jobs and watch them to their end; a launcher's failure is returned, since agents may have worked."""
        try:
            running = self.dispatch.start(self.job, numbers)
        except SweepFailedError as error:
            log.error("%s", error)
            self._read(reader)
            return error
        try:
            while running:
                self._read(reader)
                ended = [handle for handle in running if handle.has_ended()]
                running = [handle for handle in running if handle not in ended]
                for handle in ended:
                    self._read(reader)
                    self._take_up(handle)
                if running:
                    self.sleep(self.poll_s)
        except BaseException:
            self._cancel(running, reader)
            raise
        self._read(reader)
        return None

    def _cancel(self, running: Sequence[JobHandle], reader: EventReader) -> None:
        """Cancel jobs, give their agents time to hand over, and read what all of them have left."""
        log.warning("Interrupted: cancelling %d job(s).", len(running))
        for handle in running:
            handle.cancel()
        waited_s = 0.0
        while waited_s < _CANCEL_S and not all(handle.has_ended() for handle in running):
            self.sleep(self.poll_s)
            waited_s += self.poll_s
        self._read(reader)

    def _read(self, reader: EventReader) -> None:
        events = reader.new_events()
        self.history.add(events)
        self.on_events(events)

    def _take_up(self, handle: JobHandle) -> None:
        """Offer the trials that a job's agents left open when it ended."""
        for name in agent_names(handle.number, self.job.agents_per_job):
            agent = self.history.agents.get(name)
            if agent is None or agent.ended is None:
                log.warning("%s died: %s", name, handle.describe())
            self._offer_open_trials(name)

    def _offer_open_trials(self, agent: str) -> None:
        for history in self.history.open_trials_of(agent):
            trial = history.trial
            if trial.failures < self.job.settings.max_retries:
                self.ledger.offer_again(replace(trial, failures=trial.failures + 1), f"{agent} died")
                continue
            self._record_failed(trial, f"{agent} died while it ran the trial")

    def _record_failed(self, trial: Trial, error: str) -> None:
        self.ledger.mark_failed(trial)
        lost: dict[str, Any] = {"metrics": {}, "output_dir": None, "duration_s": None}
        self.ledger.record("ended", trial, state=FAILED, error=error, error_line=error, final=True, **lost)

    def _fail_handed_back_trials(self, reader: EventReader) -> None:
        """Agents that gave up hoped that others would do better; there are no others left."""
        for history in self.history.trials.values():
            if history.state == QUEUED and history.error_line:
                self._record_failed(history.trial, history.error_line)
        self._read(reader)

    def _take_up_left_trials(self, reader: EventReader) -> None:
        """After all jobs: offer what their agents left open, wherever they were when they died."""
        for name in {t.agent for t in self.history.trials.values() if t.state == RUNNING}:
            self._offer_open_trials(name)
        told = {number: t.trial.attempt for number, t in self.history.trials.items()}
        for trial in self.ledger.silent_trials(told):
            self.ledger.offer_again(trial, "its agent died before it began")
        self._read(reader)

    def _ended_count(self) -> int:
        counts = self.history.counts()
        return sum(count for state, count in counts.items() if state not in (RUNNING, QUEUED))

    def _work_left(self) -> int:
        """How many trials could still be run, as far as is known."""
        if self.history.stop_reason:
            return 0
        if self._agents_hit_their_limit():
            return 0
        counts: Mapping[str, int] = self.history.counts()
        open_trials = counts[RUNNING] + counts[QUEUED]
        expected = self.sweep.expected_trials
        if expected is None or not self._sweep_is_running():
            return open_trials
        return open_trials + max(0, expected - len(self.history.trials))

    def _agents_hit_their_limit(self) -> bool:
        limit = self.job.settings.trials_per_agent
        return limit is not None and any("trials_per_agent" in (a.ended or "") for a in self.history.agents.values())

    def _sweep_is_running(self) -> bool:
        """False if somebody ended the sweep on the server (its page, `wandb sweep --stop`)."""
        info = self.client.get_sweep(self.sweep.sweep)
        return info is not None and info.state in ("PENDING", "RUNNING")

    def failure(self, max_failure_rate: float) -> str | None:
        """Return why the sweep as a whole failed, None if it didn't."""
        counts = self.history.counts()
        if self.history.stop_reason:
            return self.history.stop_reason
        left = counts[RUNNING] + counts[QUEUED]
        if left:
            return f"{left} trial(s) could not be run to their end"
        total = sum(counts.values())
        if total and counts[FAILED] > max_failure_rate * total:
            return f"{counts[FAILED]} of {total} trials failed (hydra.sweeper.max_failure_rate={max_failure_rate})"
        if not counts[FINISHED] and self.sweep.expected_trials:
            return "no trial finished"
        return None
