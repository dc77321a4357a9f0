"""Runs: announcements, events, streams."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from . import jsontext, run_states
from .assignments import Assignments, is_held
from .brackets import Brackets
from .clock import Clock, Liveness
from .database import Database
from .deletion import DeletedRuns
from .early_stop import Hyperband
from .errors import ClientError, GoneError, NotFoundError
from .filestream import Chunk, StreamPost
from .history import Histories
from .projects import check_name
from .records import Project, Run, global_id, record, row_id_of
from .run_states import Event
from .sweeps import Sweeps

log = logging.getLogger(__name__)

_LIVE = ", ".join(f"'{state}'" for state in run_states.LIVE)


@dataclass(frozen=True)
class RunFields:
    """What a client may set of a run; None leaves a thing as it is. JSON values are parsed."""

    display_name: str | None = None
    description: str | None = None
    notes: str | None = None
    group_name: str | None = None
    job_type: str | None = None
    host: str | None = None
    program: str | None = None
    repo: str | None = None
    commit_hash: str | None = None
    tags: list[str] | None = None
    config: dict[str, Any] | None = None
    summary: dict[str, Any] | None = None


class Runs:
    """Runs and everything they report."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        liveness: Liveness,
        sweeps: Sweeps,
        new_name: Callable[[], str],
        max_losses: int,
    ) -> None:
        self._db = database
        self._brackets = Brackets(database)
        self._histories = Histories(database)
        self._clock = clock
        self._liveness = liveness
        self._sweeps = sweeps
        self._new_name = new_name
        self._max_losses = max_losses
        self.assignments = Assignments(database, clock)
        self.deleted = DeletedRuns(database)

    def by_id(self, run_id: int) -> Run:
        """The run of a row that refers to it."""
        run = record(Run, self._db.row("SELECT * FROM runs WHERE id = ?", (run_id,)))
        if run is None:
            raise LookupError(f"run row {run_id} is missing")
        return run

    def by_name(self, project_id: int, name: str) -> Run | None:
        """The run with the id users know it by, or None."""
        row = self._db.row("SELECT * FROM runs WHERE project_id = ? AND name = ?", (project_id, name))
        return record(Run, row)

    def require(self, storage_id: str) -> Run:
        """The run with that opaque id.

        Raises:
            NotFoundError: There is none.
        """
        row_id = row_id_of("Run", storage_id)
        row = None if row_id is None else self._db.row("SELECT * FROM runs WHERE id = ?", (row_id,))
        run = record(Run, row)
        if run is None:
            raise NotFoundError(f"run with id {storage_id!r} does not exist")
        return run

    def live(self) -> list[Run]:
        """Runs that are under way or handed out."""
        rows = self._db.rows(f"SELECT * FROM runs WHERE state IN ({_LIVE}) AND queued_at IS NULL")  # noqa: S608
        return [Run(**dict(row)) for row in rows]

    def live_of_agent(self, agent_id: int) -> list[Run]:
        """Runs of an agent that are under way or handed out to it."""
        rows = self._db.rows(
            f"SELECT * FROM runs WHERE agent_id = ? AND state IN ({_LIVE}) AND queued_at IS NULL",  # noqa: S608
            (agent_id,),
        )
        return [Run(**dict(row)) for row in rows]

    def of_sweep(self, sweep_id: int, state: str) -> list[Run]:
        """Runs of a sweep in a state, oldest first."""
        sql = "SELECT * FROM runs INDEXED BY states_of_sweep WHERE sweep_id = ? AND state = ? ORDER BY id"
        return [Run(**dict(row)) for row in self._db.rows(sql, (sweep_id, state))]

    def create(self, project: Project, name: str | None, sweep_id: int | None, columns: dict[str, Any]) -> Run:
        """A new run, pending."""
        now_s = self._clock.wall_s()
        run_id = self._db.insert(
            "runs",
            {
                "project_id": project.id,
                "name": check_name("run", name or self._new_name()),
                "sweep_id": sweep_id,
                "state": run_states.PENDING,
                "created_at": now_s,
                "heartbeat_at": now_s,
                **columns,
            },
        )
        if sweep_id is not None:
            self._sweeps.count_run(sweep_id)
        self._liveness.touch(run_id)
        run = self.by_id(run_id)
        self._begin_assignment(run)
        return run

    def _begin_assignment(self, run: Run) -> None:
        if run.sweep_id is not None and is_held(run):
            self.assignments.begin(run.id, run.sweep_id, run.agent_id)

    def announce(
        self,
        project: Project,
        name: str | None,
        sweep_name: str | None,
        fields: RunFields,
        *,
        starts: bool,
    ) -> tuple[Run, bool]:
        """Create or update a run as the process that executes it asks for.

        Args:
            project: Where it belongs.
            name: The run id; None makes one up.
            sweep_name: The sweep it belongs to; None changes nothing.
            fields: What to set.
            starts: Whether the process runs now (else the run is only recorded).

        Returns:
            The run, and whether it is new.

        Raises:
            NotFoundError: There is no such sweep in the project.
            GoneError: A run of this name was deleted.
        """
        sweep_id = self._sweep_id(project, sweep_name)
        run = self.by_name(project.id, name) if name else None
        inserted = run is None
        if run is None:
            self.check_deleted(project.id, name)
            run = self.create(project, name, sweep_id, {})
        elif sweep_id is not None and run.sweep_id is None:
            self._db.update("runs", run.id, {"sweep_id": sweep_id})
            self._sweeps.count_run(sweep_id)
            self._begin_assignment(self.by_id(run.id))
        run = self.edit(run, fields)
        if starts:
            run = self.apply(run, Event.START)
        return run, inserted

    def check_deleted(self, project_id: int, name: str | None) -> None:
        """Do nothing, unless a run of that name was deleted.

        Raises:
            GoneError: It was. As on W&B its id is not used again: what still reports on it would get into a new run.
        """
        if name is not None and self.deleted.contains(project_id, name):
            raise GoneError(f"run {name!r} was deleted, and its id can't be used again: take another one")

    def _sweep_id(self, project: Project, sweep_name: str | None) -> int | None:
        if not sweep_name:
            return None
        sweep = self._sweeps.by_name(project.id, sweep_name)
        if sweep is None:
            raise NotFoundError(f"sweep {sweep_name!r} does not exist in {project.entity}/{project.name}")
        return sweep.id

    def edit(self, run: Run, fields: RunFields) -> Run:
        """Store the given fields. The arguments a run was handed out with stay part of its config."""
        columns: dict[str, Any] = {
            key: value
            for key, value in vars(fields).items()
            if value is not None and key not in ("tags", "config", "summary")
        }
        if fields.tags is not None:
            columns["tags"] = jsontext.dumps(fields.tags)
        if fields.config is not None:
            args = jsontext.loads(run.args) if run.args else {}
            columns["config"] = jsontext.dumps({**args, **fields.config})
        if fields.summary is not None:
            columns["summary"] = jsontext.dumps(fields.summary)
        self._db.update("runs", run.id, columns)
        return self.by_id(run.id)

    def apply(self, run: Run, event: Event, exit_code: int | None = None) -> Run:
        """Let something happen to a run; see run_states for what becomes of it."""
        outcome = run_states.next_state(
            run.state,
            event,
            stop_requested=bool(run.stop_requested),
            may_requeue=run.args is not None and run.losses < self._max_losses,
        )
        columns: dict[str, Any] = {}
        if outcome.state != run.state:
            columns["state"] = outcome.state
        if outcome.requeue and run.args is not None:
            columns["queued_at"] = self._clock.wall_s()
        if event is Event.LOST and outcome.requeue and outcome.state != run_states.PREEMPTED:
            columns["losses"] = run.losses + 1
        if run.queued_at is not None and _leaves_queue(run.state, event, outcome):
            columns["queued_at"] = None
        if event is Event.START and run.state in run_states.ENDED:
            columns |= {"stop_requested": 0, "stop_reason": None, "exit_code": None, "is_retry": 0}
        if exit_code is not None and run.state in run_states.LIVE:
            columns["exit_code"] = exit_code
        if columns:
            self._db.update("runs", run.id, {**columns, "heartbeat_at": self._clock.wall_s()})
        self._note(run, outcome.state)
        after = self.by_id(run.id)
        self.assignments.follow(run, after, event)
        return after

    def _note(self, run: Run, state: str) -> None:
        if state in run_states.LIVE:
            self._liveness.touch(run.id)
            return
        if (run.state in run_states.LIVE or run.queued_at is not None) and run.sweep_id is not None:
            self._sweeps.settle(run.sweep_id)

    def post(self, run: Run, post: StreamPost) -> Run:
        """Store what a process streamed about its run, and stop whoever is too bad by that."""
        if self.has_heard(run, post):
            return run
        columns: dict[str, Any] = {}
        touched: set[int] = set()
        for chunk in post.chunks:
            if chunk.stream == "history":
                touched = self._take_in(run, chunk)
                columns["steps_ascend"] = int(self._histories.ascends_with(run, chunk))
            self._db.executemany(
                "INSERT OR REPLACE INTO stream_lines (run_id, stream, line, text) VALUES (?, ?, ?, ?)",
                [(run.id, chunk.stream, chunk.offset + i, line) for i, line in enumerate(chunk.lines)],
            )
            counter = f"{chunk.stream}_lines"
            end = chunk.offset + len(chunk.lines)
            columns[counter] = max(end, getattr(run, counter), columns.get(counter, 0))
        # An uploader that outlives its killed process may still send what it had, after somebody else has said how
        # the run ended.
        is_late = run.state in run_states.ENDED and post.exit_code is None
        if post.summary is not None and not is_late:
            columns["summary"] = jsontext.dumps(post.summary)
        if columns:
            self._db.update("runs", run.id, {**columns, "heartbeat_at": self._clock.wall_s()})
            run = self.by_id(run.id)
        if run.state in run_states.LIVE:
            self._liveness.touch(run.id)
        if post.preempting:
            run = self.apply(run, Event.PREEMPTING)
        if post.exit_code is not None:
            event = Event.EXIT_ZERO if post.exit_code == 0 else Event.EXIT_NONZERO
            was, run = run.state, self.apply(run, event, post.exit_code)
            # Only of the process that made room: another one's word of a run that waits is no end of it.
            if run.state == run_states.PREEMPTED != was:
                self._db.update("runs", run.id, {"preempted_by": post.digest})
        # Not before: a process that has ended by itself isn't stopped by its last value.
        return self.by_id(run.id) if self._stop_early(run.sweep_id, touched) else run

    def has_heard(self, run: Run, post: StreamPost) -> bool:
        """True if the process that was preempted missed the answer and says it again.

        All of it is stored, and by now another process may have the run, of which this says nothing.
        """
        return post.exit_code is not None and bool(post.digest) and post.digest == run.preempted_by

    def _early_stop_rule(self, sweep_id: int | None) -> Hyperband | None:
        sweep = None if sweep_id is None else self._sweeps.by_id(sweep_id)
        return None if sweep is None else self._sweeps.config(sweep).early_stop

    def _take_in(self, run: Run, chunk: Chunk) -> set[int]:
        rule = self._early_stop_rule(run.sweep_id)
        if rule is None or run.sweep_id is None:
            return set()
        return self._brackets.take_in(run.sweep_id, rule, run, chunk)

    def _stop_early(self, sweep_id: int | None, brackets: set[int]) -> bool:
        """Stop the runs of a sweep that are too bad at these brackets; True if there was one."""
        rule = self._early_stop_rule(sweep_id) if brackets else None
        if rule is None or sweep_id is None:
            return False
        decisions = self._brackets.decisions(sweep_id, rule, brackets)
        for decision in decisions:
            run = self.by_id(decision.run_id)
            log.info("run %s %s", run.name, decision)
            self.request_stop(run, str(decision))
        return bool(decisions)

    def leave_brackets(self, run: Run) -> None:
        """Withdraw what a run has logged from its sweep's early stopping; needed before its row is deleted."""
        if run.sweep_id is not None:
            rule = self._early_stop_rule(run.sweep_id)
            self._stop_early(run.sweep_id, self._brackets.leave(run.sweep_id, rule, run.id))

    def request_stop(self, run: Run, reason: str | None = None) -> None:
        """Ask a run to stop; one that only waits in the queue is ended at once. reason: if the server decided it."""
        if run.state not in run_states.LIVE and run.queued_at is None:
            return
        state = run_states.KILLED if run.queued_at is not None else run.state
        columns = {"stop_requested": 1, "stop_reason": reason, "queued_at": None, "state": state}
        self._db.update("runs", run.id, columns)
        self._note(run, state)

    def offer_again(self, run: Run) -> None:
        """Have agents run it once more, as often as if it were new, because a user wants it."""
        columns = {"queued_at": self._clock.wall_s(), "is_retry": 1, "losses": 0}
        self._db.update("runs", run.id, {**columns, "stop_requested": 0, "stop_reason": None})

    def delete(self, run: Run) -> None:
        """Remove all rows of a run for good. Its trial counts as handed out; its files go later, see Store."""
        self.deleted.add(run)
        self.leave_brackets(run)
        for table in ("stream_lines", "files"):
            self._db.execute(f"DELETE FROM {table} WHERE run_id = ?", (run.id,))  # noqa: S608
        self._db.execute("DELETE FROM runs WHERE id = ?", (run.id,))
        if run.sweep_id is not None:
            self._sweeps.settle(run.sweep_id)

    def lines(self, run: Run, stream: str, first: int, count: int) -> list[tuple[int, str]]:
        """Lines of a stream with their numbers, from number `first` on."""
        rows = self._db.rows(
            "SELECT line, text FROM stream_lines WHERE run_id = ? AND stream = ? AND line >= ? ORDER BY line LIMIT ?",
            (run.id, stream, first, count),
        )
        return [(row["line"], row["text"]) for row in rows]

    def line_count(self, run: Run, stream: str) -> int:
        """How many lines of a stream there are; fewer than their numbers say if some were never sent."""
        sql = "SELECT COUNT(*) FROM stream_lines WHERE run_id = ? AND stream = ?"
        return int(self._db.value(sql, (run.id, stream)))

    def lines_at(self, run: Run, stream: str, numbers: Sequence[int]) -> list[str]:
        """Lines with these numbers, which exist and ascend."""
        rows = self._db.rows(
            "SELECT text FROM stream_lines WHERE run_id = ? AND stream = ? "
            "AND line IN (SELECT value FROM json_each(?)) ORDER BY line",
            (run.id, stream, jsontext.dumps(list(numbers))),
        )
        return [row["text"] for row in rows]

    def last_line(self, run: Run, stream: str) -> str | None:
        """The last line of a stream, or None."""
        text: str | None = self._db.value(
            "SELECT text FROM stream_lines WHERE run_id = ? AND stream = ? ORDER BY line DESC LIMIT 1",
            (run.id, stream),
        )
        return text


def _leaves_queue(state: str, event: Event, outcome: run_states.Outcome) -> bool:
    """Whether a queued run is alive after all, was started by someone who did not wait for the offer, or is over.

    A preempted run stays: its agent lists it until the process, which has reported its exit code, is gone.
    """
    is_alive = event is Event.START or (event is Event.LISTED and outcome.state in run_states.LIVE)
    return is_alive or (outcome.state != state and not outcome.requeue)


def run_global_id(run: Run) -> str:
    """The opaque id of a run."""
    return global_id("Run", run.id)


def parsed_object(name: str, text: str | None) -> dict[str, Any] | None:
    """A JSON object from a client; None stays None.

    Raises:
        ClientError: It isn't one.
    """
    if text is None:
        return None
    try:
        value = jsontext.loads(text)
    except ValueError as error:
        raise ClientError(f"{name} is not valid JSON: {error}") from error
    if value is None:
        return None
    if not isinstance(value, dict):
        raise ClientError(f"{name} must be a JSON object, not {type(value).__name__}")
    return value
