"""The process the user started: brings agents to run, takes up what dead ones left, and sees the sweep to its end.

It never hands out work. If it goes, agents go on; what a dying agent leaves behind waits for the next one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ._attention import LeftSweep
from ._client import SweepClient
from ._control import Control
from ._demand import Demand
from ._dispatch import JobHandle
from ._errors import ServerError, ServerUnreachableError, SweepFailedError
from ._fleet import Fleet, restart_wait_s
from ._history import AgentHistory, History
from ._ledger import Ledger, SweepRecord, Trial
from ._news import Heard, News
from ._progress import Progress
from ._put_back import PutBack
from ._signs import Signs
from ._takeover import offer_forgotten, record_lost, take_over
from ._trial_table import QUEUED, RUNNING
from ._verdict import why_failed
from ._watch import SILENCE_S, Watch

if TYPE_CHECKING:
    from ._progress_view import JobView

log = logging.getLogger(__name__)

# How long cancelled jobs are waited for, so that the results hold what their agents say last.
_CANCEL_S = 20.0


@dataclass(eq=False, repr=False)
class Supervisor:
    """progress: shows what happens, None if nobody is to see it. check: called in every round; it may raise.

    max_agent_restarts: as in config.WandbSweeperConf. poll_s: how often jobs and events are looked at. setbacks:
    starts in a row that led to nothing; progress_at_setback: History.progress at the last of them.
    """

    sweep: SweepRecord
    ledger: Ledger
    client: SweepClient
    fleet: Fleet
    history: History
    progress: Progress | None
    max_agent_restarts: int
    check: Callable[[], None] = lambda: None
    poll_s: float = 0.5
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    _news: News = field(init=False)
    _watch: Watch = field(init=False)
    _control: Control = field(init=False)
    _signs: Signs = field(init=False)
    _demand: Demand = field(init=False)
    setbacks: int = 0
    progress_at_setback: int = -1
    _left_behind: int = 0
    _noted_s: float = float("-inf")
    _look_again_s: float = float("-inf")
    _failure: str | None = None
    _is_winding_up: bool = False
    _put_back: PutBack = field(default_factory=PutBack)

    def __post_init__(self) -> None:
        self._news = News(self.ledger.reader(), self.history, self.ledger.writer, self.clock)
        self._watch = Watch(self.ledger.root, self.ledger.clock)
        self._control = Control(self.ledger.root)
        self._signs = Signs(self.ledger.root, self.fleet.job.silence_s, self.clock)
        self._demand = Demand(self.sweep, self.client, self.fleet.job, self.history, self._control)

    def see_through(self, jobs: int) -> None:
        """Run a new sweep to its end with `jobs` jobs at a time.

        Errors: SweepFailedError if no agent can be brought to run at all. KeyboardInterrupt ends the jobs; any other
        exception leaves them to themselves.
        """
        self._demand.jobs = jobs
        self.fleet.plan(jobs)
        self._run()

    def go_on(self, jobs: int) -> None:
        """The same for a sweep that other processes have begun, and may still run. jobs: see see_through."""
        self._demand.jobs = jobs
        self._demand.floor = 1  # whoever was sent home before: now somebody wants it to go on
        self._note_presence()
        self._catch_up()
        self._offer_trials_of_ended_jobs()
        if self.fleet.strength:
            self._keep_strength(died=False)
        elif not self._start_over(died=False):
            self._watch.leave()
            return
        self._run()

    def look(self) -> None:
        """While the jobs block this process: read what has happened, and show it. Called again and again."""
        now = self.clock()
        if now >= self._look_again_s:
            self._look_again_s = now + self.poll_s
            self._read()
            self._show()

    def go_on_unattended(self, jobs: int) -> bool:
        """Plan jobs for what is left, `jobs` at a time, once some have ended; False if the sweep has ended.

        Those that haven't are left to work on.
        """
        self._demand.jobs = jobs
        self._catch_up()
        died = self._offer_trials_of_ended_jobs()
        if not self.fleet.live:
            return self._start_over(died=died)
        self._keep_strength(died=died)
        return True

    @property
    def has_work_for_more(self) -> bool:
        """True if one more job would find work: then one that ends or dies is to be replaced."""
        return self.fleet.has_due or self._demand.jobs_for(self._demand.trials()) > len(self.fleet.live)

    def _run(self) -> None:
        try:
            while self._go_on():
                self._show()
                self.sleep(self.poll_s)
        except KeyboardInterrupt:
            self._cancel()
            raise
        finally:
            self._watch.leave()

    def _go_on(self) -> bool:
        """Look at everything once, and do what is due; False when the sweep has ended."""
        self.check()
        self._note_presence()
        self._start_due()
        if self._news.is_due:
            self._read()
        ended = self.fleet.take_ended()
        if ended:
            self._read()
        deaths = [self._take_up(handle) for handle in ended]
        self._offer_trials_of(self._put_back.dead_agents(self.fleet.live, self.history))
        self._end_silent()
        if self.fleet.strength == 0:
            return self._start_over(died=any(deaths))
        if self._control.orders().ends_sweep:
            self._wind_up()
        elif ended:
            self._keep_strength(died=any(deaths))
        return True

    def _note_presence(self) -> None:
        now = self.clock()
        if now - self._noted_s <= SILENCE_S / 6:
            return
        self._noted_s = now
        if not self._watch.keep():
            holder = self._watch.holder()
            raise LeftSweep(f"another supervisor watches it (pid {holder.pid} on {holder.host})" if holder else "")

    def _wind_up(self) -> None:
        """No trial begins any more: jobs that wait in the queue aren't needed."""
        if not self._is_winding_up:
            self._is_winding_up = True
            self.fleet.dismiss_waiting(lambda number: bool(self.history.agents_of_job(number)))

    def _start_due(self) -> None:
        try:
            self.fleet.start_due(self.history.bad_nodes() if self.fleet.has_due else ())
        except SweepFailedError as error:
            if error.is_limit and self.fleet.live:
                return
            if not self.history.agents and not self.fleet.live:
                self._read()
                if not self.history.agents:
                    raise
            log.error("%s", error)
            self._failure = str(error)
            if self._is_setback_too_many():
                self.fleet.cancel_all()

    # --- jobs that have ended ---

    def _take_up(self, handle: JobHandle) -> bool:
        """Offer the trials that a job's agents left open when it ended; True if it died."""
        agents = self.history.agents_of_job(handle.number)
        # A requeued job has had other agents before; how those ended has been seen to. A job that was cancelled while
        # it waited in the queue never had one.
        last = self.history.last_agents_of_job(handle.number)
        died = not last or any(agent.ended is None for agent in last)
        died = died and handle.number not in self.history.jobs_drained | self.history.jobs_dismissed
        why = None
        if died and self._demand.trials():
            how = "died" if agents else "was gone before it began"
            why = self._failure = f"agent-{handle.number} {how}: {handle.describe()}"
            log.warning("%s", why)
        for agent in agents:
            self._offer_open_trials(agent.name, why)
        return died

    def _end_silent(self) -> None:
        """End jobs whose agents, all of them, hang: then they are replaced like those that died."""
        if not self._signs.is_due:
            return
        living: dict[int, list[AgentHistory]] = {}
        for handle in self.fleet.live:
            # A job that was put back into the queue has agents yet to come.
            if not handle.is_waiting():
                agents = self.history.last_agents_of_job(handle.number)
                living[handle.number] = [agent for agent in agents if agent.ended is None]
        silent = self._signs.silent([agent.name for agents in living.values() for agent in agents])
        for handle in self.fleet.live:
            agents = living.get(handle.number, [])
            if agents and all(agent.name in silent for agent in agents):
                log.warning(
                    "agent-%d has given no sign of life for %.0f min (hydra.sweeper.agent_silence_min): job %s is "
                    "ended.",
                    handle.number,
                    (self._signs.limit_s or 0.0) / 60,
                    handle.job_id,
                )
                self.fleet.end_hung(handle, agents)

    def _keep_strength(self, *, died: bool) -> None:
        """Replace jobs that are missed, and send home those that aren't needed any more."""
        demand = self._demand.trials()
        if not demand:
            self.fleet.dismiss_waiting(lambda number: bool(self.history.agents_of_job(number)))
            return
        missing = min(self._demand.target, self._demand.jobs_for(demand)) - self.fleet.strength
        if missing <= 0:
            return
        if died and self._is_setback_too_many():
            log.error(
                "Agents keep dying without a trial ending: no more of them are started "
                "(hydra.sweeper.max_agent_restarts=%d).",
                self.max_agent_restarts,
            )
            self._demand.ceiling = self.fleet.strength
            return
        wait_s = restart_wait_s(self.setbacks)
        log.warning("%d trial(s) are left; starting %d more job(s) in %.0f s.", demand, missing, wait_s)
        self.fleet.plan(missing, wait_s)

    def _start_over(self, *, died: bool) -> bool:
        """No job is left. Start some for what remains; False if nothing remains or nobody can do it."""
        self._take_up_left_trials()
        demand = self._demand.trials()
        if not demand:
            return False
        if self._control.orders().paused:
            return True
        if not self._demand.target:
            log.error("%d trial(s) are left, but all agents were sent home.", demand)
            self._left_behind = demand
            return False
        if self.history.stop_reason or self._is_setback_too_many(died=died):
            log.error("%d trial(s) are left, but no agent could run them.", demand)
            self._left_behind = demand
            self._fail_handed_back_trials()
            return False
        jobs = min(self._demand.target, self._demand.jobs_for(demand))
        wait_s = restart_wait_s(self.setbacks - 1) if died else 0.0
        log.warning(
            "%d trial(s) are left after all jobs have ended; starting %d more job(s) in %.0f s.", demand, jobs, wait_s
        )
        self.fleet.plan(jobs, wait_s)
        return True

    def _is_setback_too_many(self, *, died: bool = True) -> bool:
        """Count a start that is to be repeated; True if too many in a row led to no trial's end.

        died: agents died in it. Those that gave up on their trials will hardly do better the next time.
        """
        progress = self.history.progress
        self.setbacks = self.setbacks + 1 if progress == self.progress_at_setback else 1
        self.progress_at_setback = progress
        return self.setbacks > (self.max_agent_restarts if died else min(2, self.max_agent_restarts))

    # --- trials that are left ---

    def _offer_trials_of_ended_jobs(self) -> bool:
        """After others have watched: offer what agents left open whose jobs are gone; True if there were any."""
        self._read()  # what was found while jobs were adopted
        live = {handle.number for handle in self.fleet.live}
        dead = [a for a in self.history.agents.values() if a.job_number not in live and a.ended is None]
        self._offer_trials_of(dead)
        offer_forgotten(self.ledger, self.history)
        return bool(dead)

    def _offer_trials_of(self, dead: Sequence[AgentHistory]) -> None:
        for agent in dead:
            self._offer_open_trials(agent.name)
        if dead:
            self._read()

    def _offer_open_trials(self, agent: str, death: str | None = None) -> None:
        """death: how its job died, as far as it is known."""
        for trial, why in take_over(self.ledger, self.history, agent, self.fleet.job.settings.max_retries):
            self._record_death(trial, death or why)

    def _record_death(self, trial: Trial, why: str) -> None:
        """Say in a trial's run why it ended: the server has only noticed that it fell silent."""
        try:
            self.client.record_death(self.sweep.sweep, trial.run_id, 1, why)
        except (ServerError, ServerUnreachableError) as error:
            log.warning("Trial %d: its end can't be recorded in its run: %s", trial.number, error)

    def _fail_handed_back_trials(self) -> None:
        """Agents that gave up hoped that others would do better; there are no others left."""
        for history in self.history.trials.values():
            if history.state == QUEUED and history.error_line:
                record_lost(self.ledger, history.trial, history.error_line)
        self._read()

    def _take_up_left_trials(self) -> None:
        """After all jobs: offer what their agents left open, wherever they were when they died."""
        self._read()
        for name in {t.agent for t in self.history.trials.values() if t.state == RUNNING}:
            self._offer_open_trials(name)
        for trial in self.ledger.silent_trials(self.history.last_attempt):
            self.ledger.offer_again(trial, "its agent died before it began")
        offer_forgotten(self.ledger, self.history)
        self._read()

    # --- the end ---

    def _read(self) -> None:
        heard = self._news.read(self.progress.show if self.progress is not None else _to_nobody)
        for number in self._adopt(heard):
            for agent in self.history.agents_of_job(number):
                if agent.ended is None:
                    self._offer_open_trials(agent.name)
        for agent in heard.dead_agents:
            self._tell_of_death(agent)

    def _catch_up(self) -> None:
        """Read what happened before this process watched. What ended jobs left is to be taken up afterwards."""
        self._adopt(self._news.read(self.progress.catch_up if self.progress is not None else _to_nobody))
        if self.progress is not None:
            self.progress.show_how_far()

    def _adopt(self, heard: Heard) -> set[int]:
        """Watch jobs that other processes have submitted; returns the numbers of those that have ended."""
        if heard.has_ended_agent:
            self.fleet.dispatch.look_again()  # its job is about to end
        numbers = heard.jobs_of_others
        adopted = self.fleet.dispatch.adopt([self.history.jobs[number] for number in numbers]) if numbers else []
        self.fleet.adopt(adopted)
        return set(numbers) - {handle.number for handle in adopted}

    def _show(self) -> None:
        if self.progress is not None:
            self.progress.look(self._job_views, self._control.orders)

    def _job_views(self) -> list[JobView]:
        from ._progress_view import JobView  # some milliseconds, that the first trial needn't wait for

        return [JobView(handle.number, handle.job_id, handle.is_waiting()) for handle in self.fleet.live]

    def _tell_of_death(self, agent: AgentHistory) -> None:
        """Else the embedded server's page would show it at work until it has been silent for long enough."""
        if agent.server_id is None:
            return
        try:
            self.client.end_agent(agent.server_id, "died")
        except (ServerError, ServerUnreachableError) as error:
            log.info("The server can't be told that %s died: %s", agent.name, error)

    def _cancel(self) -> None:
        """Cancel jobs, give their agents time to hand over, and read what all of them have left."""
        log.warning("Interrupted: stopping the trials and cancelling %d job(s).", len(self.fleet.live))
        self.fleet.cancel_all()
        deadline = self.clock() + _CANCEL_S
        while self.fleet.live and self.clock() < deadline:
            self.fleet.take_ended()
            self.sleep(self.poll_s)
        self._read()
        self._offer_trials_of_ended_jobs()

    def failure(self, max_failure_rate: float) -> str | None:
        """Return why the sweep as a whole failed, None if it didn't."""
        return why_failed(
            self.history,
            self._control.orders(),
            self.sweep.expected_trials,
            max_failure_rate,
            left_behind=self._left_behind,
            last_trouble=self._failure,
        )


def _to_nobody(_: object) -> None:
    """Tells of events where nobody is to see them."""
