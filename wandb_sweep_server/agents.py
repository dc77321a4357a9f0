"""Agents: registration, heartbeats, and the hand-out of trials."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from . import jsontext, run_states, scheduling
from .assignments import LOST
from .clock import Clock, Liveness
from .database import Database
from .errors import ClientError, NotFoundError
from .projects import Projects
from .records import Agent, Project, Run, Sweep, record, row_id_of
from .run_states import Event
from .runs import Runs
from .scheduling import Action
from .search.bayes import BayesSearch
from .suggestions import Suggestions
from .sweeps import Sweeps

EXIT = {"type": "exit"}
_MAX_LISTED = 10_000

# How agents have ended.
FINISHED = "finished"
DIED = "died"

_LIVE = ", ".join(f"'{state}'" for state in run_states.LIVE)
_AT_WORK = (
    "SELECT agents.id, sweeps.state, EXISTS (SELECT 1 FROM runs INDEXED BY live_runs_of_agent "  # noqa: S608
    f"WHERE agent_id = agents.id AND state IN ({_LIVE}) AND queued_at IS NULL) AS has_run "
    "FROM agents INDEXED BY agents_at_work JOIN sweeps ON sweeps.id = agents.sweep_id WHERE agents.ended_at IS NULL"
)
_END_AGENT = (
    "UPDATE agents SET ended_at = MAX(?, heartbeat_at, COALESCE((SELECT MAX(assignments.ended_at) FROM assignments "
    "WHERE agent_id = agents.id), 0)), ended = ? WHERE id = ? AND ended_at IS NULL"
)

# Preempted ones first: they have work behind them, and lost it through no fault of theirs. With the state as it is in
# the index, which then gives the order.
_NEXT_QUEUED = (
    "SELECT * FROM runs WHERE sweep_id = ? AND queued_at IS NOT NULL "  # noqa: S608
    f"ORDER BY state != '{run_states.PREEMPTED}', queued_at, id LIMIT 1"
)


class Agents:
    """The claiming side of sweeps."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        liveness: Liveness,
        attendance: Liveness,
        projects: Projects,
        sweeps: Sweeps,
        runs: Runs,
        suggestions: Suggestions,
        new_name: Callable[[], str],
        unstarted_grace_s: float,
        crash_timeout_s: float,
    ) -> None:
        self._db = database
        self._clock = clock
        self._liveness = liveness
        self._attendance = attendance
        self._projects = projects
        self._sweeps = sweeps
        self._runs = runs
        self._suggestions = suggestions
        self._new_name = new_name
        self._unstarted_grace_s = unstarted_grace_s
        self._crash_timeout_s = crash_timeout_s

    def by_id(self, agent_id: int | None) -> Agent | None:
        """The agent of a row number, or None."""
        return record(Agent, self._db.row("SELECT * FROM agents WHERE id = ?", (agent_id,)))

    def of_sweep(self, sweep: Sweep) -> list[Agent]:
        """All agents that ever joined a sweep."""
        rows = self._db.rows("SELECT * FROM agents WHERE sweep_id = ? ORDER BY id", (sweep.id,))
        return [Agent(**dict(row)) for row in rows]

    def any_at_work(self, sweep: Sweep) -> bool:
        """Whether the sweep has an agent that has not ended, as far as is known."""
        sql = "SELECT 1 FROM agents WHERE sweep_id = ? AND ended_at IS NULL LIMIT 1"
        return self._db.value(sql, (sweep.id,)) is not None

    def register(self, sweep: Sweep, host: str, label: str | None = None, job: str | None = None) -> Agent:
        """A new agent of the sweep, which runs from now on.

        Args:
            sweep: As it is now.
            host: The machine it is on.
            label: What whoever started it calls it; it is only shown, and others may be called the same.
            job: Id of the job it is in, also only shown.

        Raises:
            ClientError: The sweep has ended. Agents know this by the words "is not running".
        """
        if sweep.state not in scheduling.OPEN:
            raise ClientError(f"Sweep {sweep.name} is not running (its state is {sweep.state}).")
        if sweep.state == scheduling.PENDING:
            self._sweeps.set_state(sweep, scheduling.RUNNING)
        now_s = self._clock.wall_s()
        agent_id = self._db.insert(
            "agents",
            {
                "sweep_id": sweep.id,
                "name": self._new_name(),
                "host": host,
                "label": label or None,
                "job": job or None,
                "created_at": now_s,
                "heartbeat_at": now_s,
            },
        )
        agent = self.by_id(agent_id)
        if agent is None:
            raise LookupError(f"agent row {agent_id} is missing")
        self._attendance.touch(agent_id)
        return agent

    def heartbeat(
        self, agent_global_id: str, run_state: str | None, when_awaited: Callable[[Sweep], None] = lambda _: None
    ) -> list[dict[str, Any]]:
        """Take note of what an agent's runs do and answer with its next commands.

        Args:
            agent_global_id: As `register` gave it out.
            run_state: JSON object `{run name: true}` of the runs alive now.
            when_awaited: Called if a trial is due to the agent that its sweep's search has yet to choose.

        Returns:
            W&B's agent commands. An unknown agent is told to exit: every version of the SDK understands
            this, while an error keeps some of them trying for ever.
        """
        agent = self.by_id(row_id_of("Agent", agent_global_id))
        sweep = None if agent is None else self._sweeps.by_id(agent.sweep_id)
        if agent is None or sweep is None:
            return [EXIT]
        self._attendance.touch(agent.id)
        listed = _listed_names(run_state)
        stops = self._take_note(agent, sweep, listed)
        is_busy = bool(listed) or self._has_fresh_offer(agent, listed)
        # Read again: what was noted may have ended the sweep.
        sweep = self._sweeps.by_id(sweep.id) or sweep
        commands = self._next_command(agent, sweep, when_awaited, is_busy=is_busy)
        self._note_end(agent, is_told=EXIT in commands)
        return [*stops, *commands]

    def end(self, agent_global_id: str, how: str) -> None:
        """Somebody says that an agent has ended; nothing happens if that is known. Its runs go on, if they do.

        Args:
            agent_global_id: As `register` gave it out.
            how: FINISHED or DIED. What a dead one held is lost from now on, whoever goes on with it.

        Raises:
            ClientError: There is no such agent, or it can't end like that.
        """
        if how not in (FINISHED, DIED):
            raise ClientError(f"how must be {FINISHED} or {DIED}, not {how!r}")
        agent = self.by_id(row_id_of("Agent", agent_global_id))
        if agent is None:
            raise NotFoundError(f"agent {agent_global_id!r} does not exist")
        if how == DIED and agent.ended_at is None:
            for run in self._runs.live_of_agent(agent.id):
                self._runs.assignments.end(run.id, LOST)
        self._end(agent.id, how, self._clock.wall_s())

    def _note_end(self, agent: Agent, *, is_told: bool) -> None:
        if is_told:
            self._end(agent.id, FINISHED, self._clock.wall_s())
        elif agent.ended_at is not None:  # it was only away
            self._db.update("agents", agent.id, {"ended_at": None, "ended": None})

    def _end(self, agent_id: int, how: str, at_s: float) -> None:
        """The agent has ended, at at_s or when it was heard of last by what is stored: whichever is later."""
        self._db.execute(_END_AGENT, (at_s, how, agent_id))

    def _take_note(self, agent: Agent, sweep: Sweep, listed: list[str]) -> list[dict[str, Any]]:
        previous = json.loads(agent.listed)
        stops = []
        for name in listed:
            run = self._runs.by_name(sweep.project_id, name)
            if run is None and self._runs.deleted.contains(sweep.project_id, name):
                stops.append({"type": "stop", "run_id": name, "reason": "its run was deleted"})
            elif run is not None and self._is_to_stop(agent, run, newly_listed=name not in previous):
                # The SDK's agents leave what they don't know alone.
                reason = {"reason": run.stop_reason} if run.stop_reason else {}
                stops.append({"type": "stop", "run_id": name, **reason})
        for name in sorted(set(previous) - set(listed)):
            run = self._runs.by_name(sweep.project_id, name)
            if run is not None and run.agent_id == agent.id and run.queued_at is None:
                self._runs.apply(run, Event.LOST)
        if sorted(listed) != sorted(previous):
            columns = {"listed": json.dumps(sorted(listed)), "heartbeat_at": self._clock.wall_s()}
            self._db.update("agents", agent.id, columns)
        return stops

    def _is_to_stop(self, agent: Agent, run: Run, *, newly_listed: bool) -> bool:
        if run.agent_id != agent.id:
            # Whoever lists a run last executes it; an agent that lost its run to another one while it
            # was silent must not go on with it.
            if not newly_listed:
                return True
            self._db.update("runs", run.id, {"agent_id": agent.id})
            self._runs.assignments.hand_over(run, agent.id)
            if run.queued_at is not None and not run.stop_requested:
                # It didn't wait for the offer. To its old agent's word about a preempted run this doesn't apply: that
                # one lists it until the process is gone.
                return bool(self._runs.apply(run, Event.START).stop_requested)
        return bool(self._runs.apply(run, Event.LISTED).stop_requested)

    def _has_fresh_offer(self, agent: Agent, listed: list[str]) -> bool:
        """Whether the agent was just given a run that had no time to start.

        The other runs that it was given and doesn't list are lost: they never started, or died before the agent
        could list them even once.
        """
        fresh = False
        for run in self._runs.live_of_agent(agent.id):
            if run.name in listed:
                continue
            # It was last heard of when it was offered.
            if run.state == run_states.PENDING and self._liveness.silence_s(run.id) < self._unstarted_grace_s:
                fresh = True
            else:
                self._runs.apply(run, Event.LOST)
        return fresh

    def _next_command(
        self, agent: Agent, sweep: Sweep, when_awaited: Callable[[Sweep], None], *, is_busy: bool
    ) -> list[dict[str, Any]]:
        situation = self._sweeps.situation(sweep, agent_is_busy=is_busy)
        action = scheduling.decide(situation)
        if action is Action.RESUME:
            return [self._offer_queued(agent, sweep)]
        if action is Action.RUN:
            args = self._next_args(sweep, when_awaited)
            return [] if args is None else [self._offer_new(agent, sweep, args)]
        if action is Action.EXIT:
            if scheduling.is_complete(situation):
                self._sweeps.set_state(sweep, scheduling.FINISHED)
            return [EXIT]
        return []

    def _offer_queued(self, agent: Agent, sweep: Sweep) -> dict[str, Any]:
        run = record(Run, self._db.row(_NEXT_QUEUED, (sweep.id,)))
        if run is None:
            raise LookupError(f"sweep {sweep.name} has no queued run")
        command = "run" if run.state == run_states.PENDING else "resume"
        columns: dict[str, Any] = {"state": run_states.PENDING, "queued_at": None, "exit_code": None}
        columns |= {"stop_requested": 0, "stop_reason": None, "is_retry": 0}
        self._db.update("runs", run.id, {**columns, **self._offer_columns(agent)})
        self._runs.assignments.begin(run.id, sweep.id, agent.id)
        self._liveness.touch(run.id)
        # The SDK's agents leave what they don't know alone.
        retry = {"retry": True} if run.is_retry else {}
        return {**self._command(command, sweep, run.name, jsontext.loads(run.args or "{}")), **retry}

    def _next_args(self, sweep: Sweep, when_awaited: Callable[[Sweep], None]) -> dict[str, Any] | None:
        search = self._sweeps.config(sweep).search
        if not isinstance(search, BayesSearch):
            return search.args(sweep.next_trial)
        args = self._suggestions.take(sweep)
        if args is None:
            when_awaited(sweep)
        return args

    def _offer_new(self, agent: Agent, sweep: Sweep, args: dict[str, Any]) -> dict[str, Any]:
        project = self._projects.by_id(sweep.project_id)
        text = jsontext.dumps(args)
        run = self._runs.create(project, None, sweep.id, {"args": text, "config": text, **self._offer_columns(agent)})
        self._sweeps.advance(sweep)
        if sweep.state == scheduling.PENDING:
            self._sweeps.set_state(sweep, scheduling.RUNNING)
        return self._command("run", sweep, run.name, args)

    def _offer_columns(self, agent: Agent) -> dict[str, Any]:
        self._db.execute("UPDATE agents SET run_count = run_count + 1 WHERE id = ?", (agent.id,))
        return {"agent_id": agent.id}

    def _command(self, kind: str, sweep: Sweep, name: str, args: dict[str, Any]) -> dict[str, Any]:
        program = self._sweeps.config(sweep).program
        return {"type": kind, "run_id": name, "args": args, "program": program or ""}

    def enqueue(self, sweep: Sweep, project: Project, args: dict[str, Any], display_name: str | None) -> Run:
        """Queue a run whose arguments someone outside of the server chose.

        Raises:
            ClientError: The sweep has ended, or has as many runs as it may have.
        """
        if sweep.state not in scheduling.OPEN:
            raise ClientError(f"Sweep {sweep.name} is not running (its state is {sweep.state}).")
        run_cap = self._sweeps.config(sweep).run_cap
        if run_cap is not None and sweep.run_count >= run_cap:
            raise ClientError(
                f"Sweep {sweep.name} has {sweep.run_count} runs: its run_cap = {run_cap} allows no more"
            )
        text = jsontext.dumps(args)
        columns = {"args": text, "config": text, "queued_at": self._clock.wall_s(), "display_name": display_name}
        return self._runs.create(project, None, sweep.id, columns)

    def lose_silent_runs(self) -> None:
        """Conclude that runs have died of which nothing was heard for too long."""
        live = self._runs.live()
        self._liveness.forget_all_but({run.id for run in live})
        silent = [run for run in live if self._is_silent(run)]
        self._lose(silent)
        for agent_id in {run.agent_id for run in silent if run.agent_id is not None}:
            if not self._runs.live_of_agent(agent_id):
                self._end(agent_id, DIED, self._clock.wall_s())
        self._end_absent()

    def _end_absent(self) -> None:
        """Conclude that agents have left which have no run, and say nothing any more or have nothing left to do."""
        at_work = self._db.rows(_AT_WORK)
        self._attendance.forget_all_but({row["id"] for row in at_work})
        for row in (row for row in at_work if not row["has_run"]):
            # Once the sweep is over they have little to wait for; but a task may have ended its run and go on, with
            # more to say of it.
            patience_s = self._crash_timeout_s if row["state"] in scheduling.OPEN else self._unstarted_grace_s
            # Agents of this project say nothing while `hydra-sweep pause` holds.
            if self._attendance.silence_s(row["id"]) > patience_s and row["state"] != scheduling.PAUSED:
                self._end(row["id"], FINISHED, 0.0)

    def _is_silent(self, run: Run) -> bool:
        return self._liveness.silence_s(run.id) > self._crash_timeout_s

    def _lose(self, runs: Iterable[Run]) -> None:
        for run in runs:
            self._runs.apply(run, Event.LOST)


def _listed_names(run_state: str | None) -> list[str]:
    try:
        value = jsontext.loads(run_state or "{}")
    except ValueError as error:
        raise ClientError(f"runState is not valid JSON: {error}") from error
    if not isinstance(value, dict) or len(value) > _MAX_LISTED:
        raise ClientError(f"runState must be a JSON object of at most {_MAX_LISTED} runs")
    return [name for name, is_alive in value.items() if is_alive]
