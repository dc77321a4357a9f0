"""An agent: claims trials one after another until there are none, and runs each.

A lifecycle in verbs: register -> (claim -> run -> settle)* -> leave. Offers in the ledger (retries, trials of dead
agents) come before new trials from the server.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ._client import Command, SweepClient
from ._control import Control
from ._durations import Durations
from ._errors import ServerError, ServerUnreachableError
from ._files import read_json
from ._isolation import Isolation, TrialProcess
from ._ledger import Ledger, SweepRecord, Trial
from ._notice import preempt_signal
from ._outcome import FINISHED, PREEMPTED, STOPPED
from ._processes import process_start
from ._settle import (
    STOPPED_BY_SERVER,
    STOPPED_BY_USER,
    AgentSettings,
    AgentSummary,
    Settler,
    failed_result,
    stopped_result,
)
from ._slurm import node_name, own_job_id, own_job_name, restart_count
from ._wakeup import Wakeup
from ._walltime import UNLIMITED, WallTime, expected_trial_s, grace_s, too_short

log = logging.getLogger(__name__)

# Of its job's time, what a trial must have had for another job to be of no use.
_ALMOST_ALL = 0.8
_ALL_CLAIMED = "every trial has been claimed"


@dataclass(frozen=True, eq=False, repr=False)
class _Work:
    """The answer to a claim: a trial, or why there is none."""

    trial: Trial | None = None
    leave: str | None = None


class Agent:
    """Runs trials until the work is done.

    client: calls to the sweep's server. ledger: this agent's. isolation: how trials are run. wakeup: set it to make
    the agent stop (see stop). wall_time: limit of the job it is in. job_number: of that job in the sweep.
    """

    def __init__(
        self,
        name: str,
        sweep: SweepRecord,
        settings: AgentSettings,
        *,
        client: SweepClient,
        ledger: Ledger,
        isolation: Isolation,
        wakeup: Wakeup,
        wall_time: WallTime = UNLIMITED,
        job_number: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall_time = wall_time
        self._job_number = job_number
        self._durations = Durations(ledger.reader())
        self._sweep = sweep
        self._settings = settings
        self._client = client
        self._ledger = ledger
        self._control = Control(ledger.root)
        self._isolation = isolation
        self._wakeup = wakeup
        self._clock = clock
        self._summary = AgentSummary(name)
        self._settler = Settler(sweep, settings, client, ledger, self._summary)
        self._left_at_start_s = wall_time.left_s()
        self._stop_reason: str | None = None
        self._interrupted = False
        self._agent_id: str | None = None
        self._unclaimed: list[Command] = []  # trials that the server handed out together with another one

    @property
    def stop_reason(self) -> str | None:
        """Why the agent is to stop, None if it isn't."""
        return self._stop_reason

    def on_signal(self, name: str) -> None:
        """The agent's job was told to end, by a signal of that name; the first Ctrl-C lets the running trial end."""
        if name == "SIGINT" and not self._interrupted:
            self._interrupted = True
            return
        is_warning = name == preempt_signal().name and self._wall_time.is_timing_out()
        if is_warning and not self._is_time_up():
            # The warning of the time limit may come a minute early, which for short jobs is at their start. It is
            # heeded when it is due: see _is_time_up.
            return
        self.stop(f"its job was told to end by {name}")

    def stop(self, reason: str) -> None:
        """Stop as soon as possible, handing over the running trial. May be called from a signal handler."""
        self._stop_reason = self._stop_reason or reason
        self._summary.was_stopped = True
        self._wakeup.set()

    def _is_time_up(self) -> bool:
        """True from the moment on at which the running trial has to be told of its job's time limit."""
        left_s = self._wall_time.until_warning_s()
        if left_s is None or left_s > 0:
            return False
        self._stop_reason = self._stop_reason or "the time limit of its job is near"
        self._summary.was_stopped = True
        return True

    def run(self) -> AgentSummary:
        """Work until there is nothing left to do, and return what was done."""
        self._ledger.record(
            "agent_started",
            host=socket.gethostname(),
            pid=os.getpid(),
            process_start=process_start(os.getpid()),
            job=own_job_id(),
            job_name=own_job_name() or None,
            job_number=self._job_number,
            restarts=restart_count(),
            node=node_name(),
            job_end=self._job_end(),
        )
        try:
            self._agent_id = self._register()
            if self._agent_id is not None and self._sweep.server.is_embedded:
                # Whoever finds this agent dead can tell the server.
                self._ledger.record("agent_registered", server_id=self._agent_id)
            self._summary.ended = self._work()
        except (ServerError, ServerUnreachableError) as error:
            log.error("%s", error)
            self._summary.ended = str(error)
        except BaseException:
            self._summary.ended = self._summary.ended or "interrupted"
            with contextlib.suppress(OSError):  # what it ended by says more
                self._record_end()
            self._say_goodbye()
            raise
        self._record_end()
        self._say_goodbye()
        log.info("Agent %s ends: %s", self._summary.name, self._summary.ended)
        return self._summary

    def _register(self) -> str | None:
        sweep, host = self._sweep.sweep, socket.gethostname()
        if not self._sweep.server.is_embedded:
            return self._client.create_agent(sweep, host)
        return self._client.create_own_agent(sweep, host, self._summary.name, own_job_name() or None)

    def _record_end(self) -> None:
        self._ledger.record(
            "agent_ended",
            reason=self._summary.ended,
            trials=self._summary.trials,
            gave_up=self._summary.gave_up,
            found_no_more=self._summary.found_no_more,
        )

    def _say_goodbye(self) -> None:
        """Else the embedded server's page would show it at work until it has been silent for long enough."""
        if self._agent_id is None or not self._sweep.server.is_embedded:
            return
        try:
            self._client.end_agent(self._agent_id, "finished")
        except (ServerError, ServerUnreachableError) as error:
            log.info("The server can't be told that this agent ends: %s", error)

    def _job_end(self) -> float | None:
        """When the time of its job is over, in seconds since the epoch; None without a limit."""
        left_s = self._wall_time.left_s()
        return None if left_s is None else round(self._ledger.clock() + left_s, 1)

    def _work(self) -> str:
        idle_s = 0.2
        while True:
            if self._stop_reason or self._is_time_up():
                return self._stop_reason or ""
            if self._summary.trials == self._settings.trials_per_agent:
                return f"it has run hydra.sweeper.trials_per_agent={self._summary.trials} trials"
            if late := self._lacks_time():
                self._summary.is_out_of_time = True
                return late
            work = self._claim()
            # Before anything else is begun, or waited for. Meanwhile the last trial's process has exited.
            self._isolation.wait_until_clear()
            if work.leave:
                return work.leave if self._summary.is_drained else self._leave(work.leave)
            if work.trial is None:
                self._wakeup.wait(idle_s)
                idle_s = min(idle_s * 2, self._settings.idle_s)
                continue
            idle_s = 0.2
            self._run(work.trial)
            if len(self._settler.streak) >= self._settings.max_consecutive_failures:
                return self._stop_reason or self._settler.give_up()

    def _leave(self, reason: str) -> str:
        return self._settler.give_up_if_alone_with_failures() or reason

    def _lacks_time(self) -> str | None:
        """Return why no further trial fits into the job, None if one may begin.

        The first one always may: no later job will have more time for it.
        """
        left_s = self._wall_time.left_s()
        if self._summary.trials == 0 or self._settings.resumable or left_s is None:
            return None
        expected_s = expected_trial_s(self._durations.longest_s(left_s), self._settings.trial_time_min)
        return too_short(self._wall_time, expected_s)

    # --- claim ---

    def _claim(self) -> _Work:
        orders = self._control.orders()
        interrupted = "it was interrupted by Ctrl-C" if self._interrupted else None
        if reason := orders.leave_reason(self._summary.name) or interrupted:
            self._summary.is_drained = True
            return _Work(leave=reason)
        if orders.paused:
            return _Work()
        offered = self._ledger.take_offer()
        if offered is not None:
            return _Work(offered)
        if self._agent_id is None:
            return _Work(leave="the sweep is not running any more")
        expected = self._sweep.expected_trials
        is_all_claimed = expected is not None and self._ledger.claimed_count() >= expected
        commands = self._unclaimed or (
            self._retries(self._agent_id) if is_all_claimed else self._client.heartbeat(self._agent_id, ())
        )
        for position, command in enumerate(commands):
            if command.kind in ("run", "resume"):
                self._unclaimed = commands[position + 1 :]
                return _Work(self._number(command))
            if command.kind == "exit":
                # A trial may have been offered since the look above, by an agent that failed meanwhile.
                self._summary.found_no_more = True
                late = self._ledger.take_offer()
                return _Work(late) if late else _Work(leave="the server has no more trials")
        self._unclaimed = []
        return _Work(leave=_ALL_CLAIMED) if is_all_claimed else _Work()

    def _retries(self, agent_id: str) -> list[Command]:
        """After the last trial: what the embedded server was told to have run again; no other one knows of that."""
        if not self._sweep.server.is_embedded:
            return []
        try:
            return self._client.heartbeat(agent_id, (), patient=False)
        except (ServerError, ServerUnreachableError) as error:
            log.info("The server can't be asked for trials to be run again: %s", error)
            return []

    def _number(self, command: Command) -> Trial | None:
        if command.kind == "resume" and self._sweep.is_ours and not self._ledger.knows_run(command.run_id):
            # Handed over by agents of another sweep directory, whose ledger offers it too: with its own directory,
            # where the checkpoint is.
            log.info("Run %s is left to the agents of the directory that it began in.", command.run_id)
            return None
        trial = self._ledger.number_trial(command.run_id, command.args)
        if self._ledger.has_finished(trial):
            # The server missed the end of the run (its process died right after it) and offers it again.
            self._client.record_end(self._sweep.sweep, trial.run_id, exit_code=0)
            return None
        if command.is_retry:
            self._ledger.failures.unmark(trial.number)
        elif self._ledger.failures.has(trial.number):
            # Its retries are used up here, while to the server it was interrupted and has to go on.
            self._client.record_end(self._sweep.sweep, trial.run_id, exit_code=1)
            return None
        before = replace(trial, attempt=trial.attempt - 1)
        if trial.attempt and self._ledger.is_under_way(before, self._settings.fresh_claim_s):
            # Another agent took its offer a moment ago, and the server hasn't heard of that yet.
            return None
        # Lost to an agent that took the same trial's offer: the server knows nothing of the ledger.
        return trial if self._ledger.begin(trial) else None

    # --- run ---

    def _run(self, trial: Trial) -> None:
        self._summary.trials += 1
        started = self._clock()
        result_path = self._ledger.result_path(trial)
        had_whole_job = self._has_whole_job()
        if trial.resumes:
            self._list_to_server(trial)
        process = self._isolation.start(trial, result_path)
        try:
            stopped = self._watch(trial, process)
        except BaseException:
            self._hand_over(trial, process, "the agent was interrupted", started, had_whole_job)
            raise
        if self._stop_reason and not process.wait(0):
            self._hand_over(trial, process, self._stop_reason, started, had_whole_job)
            return
        result = self._settler.result(trial, process, result_path, stopped)
        if result["state"] == PREEMPTED:
            # The signal reached the trial before it reached the agent.
            self._offer_on(trial, self._stop_reason or "it was told to make room")
            return
        if result["state"] == STOPPED and stopped is None and (reason := self._told_to_stop(trial)):
            # W&B's SDK heard of it first, and doesn't know why.
            result["error_line"] = reason
        self._settle(trial, result, self._clock() - started)

    def _has_whole_job(self) -> bool:
        """True if a trial that begins now has (almost) all of the job's time: another job would give it no more."""
        left_s = self._wall_time.left_s()
        if left_s is None or self._left_at_start_s is None or self._summary.trials > 1:
            return False
        return left_s >= _ALMOST_ALL * self._left_at_start_s

    def _list_to_server(self, trial: Trial) -> None:
        """Before a trial goes on: the server has its run in a queue too, and mustn't give it to anybody else.

        Errors: those of the client if it can't be told; then the trial is offered again.
        """
        if self._agent_id is None:
            return
        try:
            commands = self._client.heartbeat(self._agent_id, (trial.run_id,))
        except (ServerError, ServerUnreachableError):
            # wandb.init would fail as well, and that would count as the trial's failure.
            self._ledger.offer_again(trial, "the server could not be reached")
            raise
        self._unclaimed += [c for c in commands if c.kind in ("run", "resume")]

    def _watch(self, trial: Trial, process: TrialProcess) -> str | None:
        """Wait for the end of a trial; returns why it was stopped for good, None if it wasn't."""
        heartbeat_s = self._settings.heartbeat_s
        next_beat = self._clock() + heartbeat_s
        while not process.wait(self._next_look_s(next_beat - self._clock())):
            if self._stop_reason or self._is_time_up():
                return None
            if self._clock() < next_beat:
                continue
            next_beat = self._clock() + heartbeat_s
            if reason := self._told_to_stop(trial):
                log.info("Trial %d ends early: %s", trial.number, reason)
                process.terminate(self._settings.grace_s)
                return reason
        return None

    def _next_look_s(self, until_beat_s: float) -> float:
        until_warning_s = self._wall_time.until_warning_s()
        return max(0.0, until_beat_s if until_warning_s is None else min(until_beat_s, until_warning_s))

    def _told_to_stop(self, trial: Trial) -> str | None:
        """Return why a trial has to stop for good, None if nobody wants that."""
        if self._control.orders().cancelled:
            return STOPPED_BY_USER
        if self._agent_id is None:
            return None
        try:
            commands = self._client.heartbeat(self._agent_id, (trial.run_id,), patient=False)
        except (ServerError, ServerUnreachableError) as error:
            # The trial doesn't need the agent's connection: it goes on, and the next beat tries again.
            log.warning("Trial %d goes on without the server: %s", trial.number, error)
            return None
        self._unclaimed += [c for c in commands if c.kind in ("run", "resume")]
        stops = [c for c in commands if c.kind == "stop" and c.run_id == trial.run_id]
        return stops[0].reason or STOPPED_BY_SERVER if stops else None

    def _hand_over(
        self, trial: Trial, process: TrialProcess, reason: str, started: float, had_whole_job: bool
    ) -> None:
        """Have the trial end in good order, and let another agent go on with it.

        started: on the agent's clock. had_whole_job: it began with its job, see _has_whole_job.
        """
        times_out = self._wall_time.is_timing_out()
        grace = grace_s(self._wall_time, margin_s=self._settings.margin_s, default_s=self._settings.preempt_grace_s)
        # On disk before anything else: if the job is killed now, this was no failure of the trial's.
        self._ledger.record("preempting", trial, reason=reason)
        log.warning("Trial %d is to make room (%s); it may go on for %.0f s.", trial.number, reason, grace)
        self._announce_preemption(trial)
        process.preempt(grace)
        result = read_json(self._ledger.result_path(trial))
        if result is not None and result["state"] == FINISHED:
            self._settle(trial, result, self._clock() - started)
        elif times_out and had_whole_job and not self._settings.resumable:
            self._settle_too_long(trial)
        else:
            self._offer_on(trial, reason)

    def _announce_preemption(self, trial: Trial) -> None:
        try:
            self._client.mark_preempting(self._sweep.sweep, trial.run_id)
        except (ServerError, ServerUnreachableError) as error:
            log.warning("Trial %d: its run can't be marked as preempting: %s", trial.number, error)

    def _settle_too_long(self, trial: Trial) -> None:
        """The trial had a whole job to itself; without a limit on that, some would go on for ever."""
        error = (
            "it had a job to itself and didn't finish within the time limit; raise hydra.launcher.timeout_min, or "
            "set hydra.sweeper.resumable=true if it goes on from a checkpoint"
        )
        self._settle(trial, failed_result(error), duration_s=0.0)

    def _offer_on(self, trial: Trial, reason: str) -> None:
        if self._control.orders().cancelled:
            self._settle(trial, stopped_result(STOPPED_BY_USER), duration_s=0.0)
            return
        log.warning("Trial %d is handed over: %s", trial.number, reason)
        self._ledger.offer(replace(trial, attempt=trial.attempt + 1, resumes=True), reason)

    def _settle(self, trial: Trial, result: dict[str, Any], duration_s: float) -> None:
        stop_reason = self._settler.settle(trial, result, duration_s)
        self._stop_reason = self._stop_reason or stop_reason
        if result["state"] == FINISHED:
            self._durations.add(duration_s)
