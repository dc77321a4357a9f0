"""What becomes of a trial whose attempt has ended in an agent: counted, retried, handed on, recorded in its run."""

from __future__ import annotations

import logging
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ._client import SweepClient
from ._errors import ServerError, ServerUnreachableError
from ._events import EventReader
from ._files import read_json
from ._isolation import TrialProcess
from ._ledger import Ledger, SweepRecord, Trial
from ._outcome import FAILED, FINISHED, RESULT_LOST_CODE, STOPPED, STOPPED_CODE, numbers
from ._output_place import log_of, log_tail, noted_place
from ._wandb_run import run_name
from ._wording import one_line

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AgentSettings:
    """What an agent may decide by itself.

    max_retries, max_failure_rate, max_consecutive_failures, trials_per_agent: as in config.WandbSweeperConf.
    heartbeat_s: how often the server hears of a running trial. idle_s: longest wait between two questions for work.
    grace_s: between SIGTERM and SIGKILL for a trial that has to stop. trial_time_min, resumable: as in
    config.WandbSweeperConf. preempt_grace_s: what a trial gets where its job has to make room for another one.
    margin_s: of a job's last seconds, what the agent keeps for itself. fresh_claim_s: for how long the ledger's word
    that an attempt is under way outweighs the server's that it isn't.
    """

    max_retries: int
    max_failure_rate: float
    max_consecutive_failures: int
    trials_per_agent: int | None
    heartbeat_s: float = 5.0
    idle_s: float = 5.0
    grace_s: float = 30.0
    trial_time_min: float | None = None
    resumable: bool = False
    preempt_grace_s: float = 20.0
    margin_s: float = 15.0
    fresh_claim_s: float = 120.0


@dataclass
class AgentSummary:
    """What an agent did.

    ended: why it left, as a sentence. was_stopped: it was told to. is_out_of_time: its job had too little time left
    for another trial. gave_up: too many trials in a row failed in it. is_drained: it was told to claim no more.
    found_no_more: the server had no new trial.
    """

    name: str
    trials: int = 0
    failures: int = 0
    ended: str = ""
    was_stopped: bool = False
    is_out_of_time: bool = False
    gave_up: bool = False
    is_drained: bool = False
    found_no_more: bool = False


@dataclass(eq=False, repr=False)
class Settler:
    """Settles the attempts of one agent. summary: the agent's, kept up to date here.

    streak: trials that failed one after another in this agent, each as it was before it came here.
    """

    sweep: SweepRecord
    settings: AgentSettings
    client: SweepClient
    ledger: Ledger
    summary: AgentSummary
    streak: dict[int, Trial] = field(default_factory=dict)
    has_finished_one: bool = False

    def result(self, trial: Trial, process: TrialProcess, path: Path, stopped: str | None) -> dict[str, Any]:
        """Return how the attempt went; if its process couldn't say, record its death in its run.

        stopped: why it was stopped for good, None if it wasn't. What it had logged until then is its result.
        """
        result = read_json(path)
        if result is not None and stopped is None and process.failure is None:
            return result
        error = stopped or process.failure or _death(process.exit_code)
        code = STOPPED_CODE if stopped else 128 - process.exit_code if process.exit_code < 0 else process.exit_code
        summary: Mapping[str, Any] = {}
        place = noted_place(path)
        try:
            summary = self.client.record_death(self.sweep.sweep, trial.run_id, code, error, log_tail(place))
        except (ServerError, ServerUnreachableError) as failure:
            log.warning("Trial %d: its end can't be recorded in its run: %s", trial.number, failure)
        if stopped is None:
            return failed_result(error, place)
        own = result or {"metrics": numbers(summary), "output_dir": place}
        return {**stopped_result(error), "metrics": own["metrics"], "output_dir": own["output_dir"]}

    def settle(self, trial: Trial, result: dict[str, Any], duration_s: float) -> str | None:
        """Record the end of an attempt and decide what becomes of the trial.

        Returns why the whole sweep is stopped, None if it goes on.
        """
        failed = result["state"] == FAILED
        retry = failed and trial.failures < self.settings.max_retries
        self.ledger.record("ended", trial, **result, duration_s=round(duration_s, 3), final=not retry)
        if not failed:
            value = result["metrics"].get(self.sweep.metric_name)
            what = "" if value is None else f", {self.sweep.metric_name}={value:.6g}"
            what += f": {one_line(result['error_line'])}" if result["error_line"] else ""
            log.info("Trial %s %s in %.1f s%s", self._named(trial), result["state"], duration_s, what)
            self.has_finished_one = self.has_finished_one or result["state"] == FINISHED
            self.streak = {}
            return None
        again = f"; retry {trial.failures + 1} of {self.settings.max_retries} follows" if retry else ""
        place = log_of(result["output_dir"])
        where = f" (its log: {one_line(str(place))})" if place is not None else ""
        log.warning("Trial %s failed: %s%s%s", self._named(trial), one_line(result["error_line"]), where, again)
        self.summary.failures += 1
        self.streak.setdefault(trial.number, trial)
        if not retry:
            return self._count_failed(trial)
        following = replace(trial, attempt=trial.attempt + 1, failures=trial.failures + 1, resumes=True)
        self.ledger.offer(following, f"retry {following.failures} of {self.settings.max_retries}")
        return None

    def _named(self, trial: Trial) -> str:
        return one_line(run_name(self.sweep, trial))

    def _count_failed(self, trial: Trial) -> str | None:
        failed = self.ledger.failures.mark(trial.number)
        total = self.sweep.expected_trials or max(self.ledger.claimed_count(), 10)
        if failed <= self.settings.max_failure_rate * total:
            return None
        reason = (
            f"{failed} of {total} trials failed (hydra.sweeper.max_failure_rate={self.settings.max_failure_rate})"
        )
        self.ledger.record("sweep_stopped", reason=reason)
        log.error("The sweep is stopped: %s", reason)
        self.client.end_sweep(self.sweep.sweep)
        return reason

    def give_up(self) -> str:
        """Too many trials in a row failed here: give them to other agents, as they came. Returns why."""
        self._hand_back()
        return (
            f"{len(self.streak)} trials failed one after another "
            f"(hydra.sweeper.max_consecutive_failures={self.settings.max_consecutive_failures})"
        )

    def give_up_if_alone_with_failures(self) -> str | None:
        """Before leaving for want of work: was it this node? Then give the failed trials to others, and say so.

        An agent that came late may have had fewer trials than max_consecutive_failures.
        """
        if self.has_finished_one or not self.streak or not self._do_others_finish():
            return None
        self._hand_back()
        return f"all of its trials failed ({len(self.streak)}), while on other nodes they finish"

    def _do_others_finish(self) -> bool:
        nodes, finished = {}, set()
        for event in EventReader(self.ledger.directory).new_events():
            if event["event"] == "agent_started":
                nodes[event["by"]] = event["node"]
            elif event["event"] == "ended" and event["state"] == FINISHED:
                finished.add(event["by"])
        own = nodes.get(self.summary.name)
        return own is not None and any(nodes.get(name) not in (None, own) for name in finished)

    def _hand_back(self) -> None:
        self.summary.gave_up = True
        for trial in self.streak.values():
            # Others may have taken its retry meanwhile: then it is theirs.
            if self.ledger.last_attempt_by(trial.number) == self.summary.name:
                self.ledger.failures.unmark(trial.number)
                self.ledger.offer_again(trial, "its agent gave up")


STOPPED_BY_USER = "stopped by its user"
STOPPED_BY_SERVER = "stopped by the server, by early_terminate or by hand"


def failed_result(error: str, output_dir: str | None = None) -> dict[str, Any]:
    """The result of an attempt that failed without leaving one. output_dir: where it ran, as far as that is known."""
    return {"state": FAILED, "metrics": {}, "error": error, "error_line": error, "output_dir": output_dir}


def stopped_result(reason: str) -> dict[str, Any]:
    """The result of an attempt that was stopped for good."""
    return {**failed_result(reason), "state": STOPPED}


def _death(exit_code: int) -> str:
    if exit_code == RESULT_LOST_CODE:
        return "The trial's result can't be written (is the sweep directory full?)"
    if exit_code >= 0:
        return f"The trial's process ended with status {exit_code} without a result"
    number = -exit_code
    try:
        name = signal.Signals(number).name
    except ValueError:  # real-time signals have no names
        name = f"signal {number}"
    hint = " (out of memory?)" if number == signal.SIGKILL else ""
    return f"The trial's process was killed by {name}{hint}"
