"""Who is where in the brackets of early stopping, kept as rows, so that a restart forgets nothing.

A new value costs a few look-ups in indexes, however many runs and values there are: each bracket remembers which of
its losses is the threshold, and that one moves to a neighbour at most when another joins or leaves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from . import run_states
from .database import Database
from .early_stop import Decision, Hyperband, Standing, follow, retrace
from .filestream import Chunk
from .records import Run


@dataclass(frozen=True)
class _Threshold:
    """Which of a bracket's losses, in ascending order, is its threshold. Of equal losses, the run's number decides.

    count: losses in the bracket. position: how many of them come before this one.
    """

    count: int
    position: int
    loss: float
    run_id: int


_PUT_STANDING = """INSERT OR REPLACE INTO standings
    (is_contender, run_id, sweep_id, lines, step, value_count, bracket, loss) VALUES (1, ?, ?, ?, ?, ?, ?, ?)"""
_BEYOND = """SELECT run_id, loss, state, stop_requested FROM standings JOIN runs ON runs.id = run_id
    WHERE standings.sweep_id = ? AND bracket = ? AND is_contender = 1 AND loss > ? ORDER BY loss, run_id"""
_NEXT = """SELECT loss, run_id FROM bracket_losses WHERE sweep_id = ? AND bracket = ? AND (loss, run_id) > (?, ?)
    ORDER BY loss, run_id LIMIT 1"""
_PREVIOUS = """SELECT loss, run_id FROM bracket_losses WHERE sweep_id = ? AND bracket = ? AND (loss, run_id) < (?, ?)
    ORDER BY loss DESC, run_id DESC LIMIT 1"""


class Brackets:
    """Standings of the runs of all sweeps that stop some early."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def take_in(self, sweep_id: int, rule: Hyperband, run: Run, chunk: Chunk) -> set[int]:
        """Take note of history lines that are about to be stored; returns the brackets where that may matter.

        Lines that were taken in already change nothing. A process that begins its run anew may send others under
        their numbers (wandb 0.19), or go on numbering and begin with low steps.
        """
        touched = self._use_rule(sweep_id, rule)
        mark, standing = self._standing(run.id)
        known = self._count_known(run, chunk, mark)
        first, lines = chunk.offset + known, chunk.lines[known:]
        if not lines:
            return touched
        track = follow(rule, standing, lines) if first == mark else None
        if track is not None:
            self._put_losses(sweep_id, rule, run.id, track.losses)
        else:
            # Linear in the run's history, but happens only where a process begins its run anew, and to what was
            # logged before the run was of the sweep.
            track = retrace(rule, [*self._lines(run.id, first), *lines])
            touched |= self._replace_losses(sweep_id, rule, run.id, track.losses)
        self._put_standing(sweep_id, run.id, track.standing, first + len(lines))
        return touched | set(track.losses) | {track.standing.bracket}

    def decisions(self, sweep_id: int, rule: Hyperband, brackets: Iterable[int]) -> list[Decision]:
        """Whom to stop among the running runs that have come to these brackets and no further."""
        found = []
        for bracket in sorted(set(brackets) - {0}):
            threshold = self._threshold(sweep_id, bracket)
            if threshold is None:
                continue
            rows = self._db.rows(_BEYOND, (sweep_id, bracket, threshold.loss))
            # Who is stopped, or runs no longer, isn't looked at again before it logs a further value: else every
            # look at the bracket would meet all that ever lost there.
            self._db.executemany(
                "UPDATE standings SET is_contender = 0 WHERE run_id = ?", [(row["run_id"],) for row in rows]
            )
            limit = rule.loss(threshold.loss)
            found += [
                Decision(row["run_id"], bracket, rule.metric, rule.loss(row["loss"]), limit)
                for row in rows
                if row["state"] == run_states.RUNNING and not row["stop_requested"]
            ]
        return found

    def leave(self, sweep_id: int, rule: Hyperband | None, run_id: int) -> set[int]:
        """Withdraw a run, as if it had never logged anything; returns the brackets where that may matter."""
        if rule is None or not self._is_in_use(sweep_id, rule):
            self._forget(sweep_id)
            return set()
        left = self._replace_losses(sweep_id, rule, run_id, {})
        self._db.execute("DELETE FROM standings WHERE run_id = ?", (run_id,))
        return left

    # --- standings ---

    def _is_in_use(self, sweep_id: int, rule: Hyperband) -> bool:
        text = self._db.value("SELECT rule FROM early_stop_rules WHERE sweep_id = ?", (sweep_id,))
        return bool(text == repr(rule))

    def _use_rule(self, sweep_id: int, rule: Hyperband) -> set[int]:
        """Begin anew, with the histories that there are, if the sweep had another rule or none until now."""
        if self._is_in_use(sweep_id, rule):
            return set()
        self._forget(sweep_id)
        self._db.execute("INSERT INTO early_stop_rules (sweep_id, rule) VALUES (?, ?)", (sweep_id, repr(rule)))
        touched: set[int] = set()
        runs = self._db.rows("SELECT id, history_lines FROM runs WHERE sweep_id = ? AND history_lines", (sweep_id,))
        for run in runs:
            track = retrace(rule, self._lines(run["id"], run["history_lines"]))
            self._put_losses(sweep_id, rule, run["id"], track.losses)
            self._put_standing(sweep_id, run["id"], track.standing, run["history_lines"])
            touched |= {*track.losses, track.standing.bracket}
        return touched

    def _forget(self, sweep_id: int) -> None:
        for table in ("standings", "bracket_losses", "brackets", "early_stop_rules"):
            self._db.execute(f"DELETE FROM {table} WHERE sweep_id = ?", (sweep_id,))  # noqa: S608 (names of ours)

    def _standing(self, run_id: int) -> tuple[int, Standing]:
        """How many history lines of a run were taken in, and where they have led."""
        row = self._db.row("SELECT * FROM standings WHERE run_id = ?", (run_id,))
        if row is None:
            return 0, Standing()
        return row["lines"], Standing(row["step"], row["value_count"], row["bracket"], row["loss"])

    def _put_standing(self, sweep_id: int, run_id: int, now: Standing, lines: int) -> None:
        self._db.execute(_PUT_STANDING, (run_id, sweep_id, lines, now.step, now.values, now.bracket, now.loss))

    def _lines(self, run_id: int, end: int) -> list[str]:
        sql = "SELECT text FROM stream_lines WHERE run_id = ? AND stream = 'history' AND line < ? ORDER BY line"
        return [row["text"] for row in self._db.rows(sql, (run_id, end))]

    def _count_known(self, run: Run, chunk: Chunk, end: int) -> int:
        """How many lines at the chunk's beginning are sent once more, as they were."""
        if chunk.offset >= end:
            return 0
        rows = self._db.rows(
            "SELECT line, text FROM stream_lines WHERE run_id = ? AND stream = 'history' AND line BETWEEN ? AND ?",
            (run.id, chunk.offset, min(end, chunk.offset + len(chunk.lines)) - 1),
        )
        stored = {row["line"]: row["text"] for row in rows}
        for position, line in enumerate(chunk.lines):
            if stored.get(chunk.offset + position) != line:
                return position
        return len(chunk.lines)

    # --- losses of a bracket, and its threshold ---

    def _put_losses(self, sweep_id: int, rule: Hyperband, run_id: int, losses: Mapping[int, float]) -> None:
        for bracket, loss in losses.items():
            self._join(sweep_id, rule, bracket, loss, run_id)

    def _replace_losses(self, sweep_id: int, rule: Hyperband, run_id: int, losses: Mapping[int, float]) -> set[int]:
        rows = self._db.rows("SELECT bracket, loss FROM bracket_losses WHERE run_id = ?", (run_id,))
        for row in rows:
            self._depart(sweep_id, rule, row["bracket"], row["loss"], run_id)
        self._put_losses(sweep_id, rule, run_id, losses)
        return {row["bracket"] for row in rows}

    def _join(self, sweep_id: int, rule: Hyperband, bracket: int, loss: float, run_id: int) -> None:
        self._db.execute(
            "INSERT INTO bracket_losses (sweep_id, bracket, loss, run_id) VALUES (?, ?, ?, ?)",
            (sweep_id, bracket, loss, run_id),
        )
        was = self._threshold(sweep_id, bracket)
        if was is None:
            now = _Threshold(1, 0, loss, run_id)
        else:
            comes_before = (loss, run_id) < (was.loss, was.run_id)
            now = _Threshold(was.count + 1, was.position + comes_before, was.loss, was.run_id)
        self._put_threshold(sweep_id, bracket, self._moved(sweep_id, bracket, now, rule))

    def _depart(self, sweep_id: int, rule: Hyperband, bracket: int, loss: float, run_id: int) -> None:
        was = self._threshold(sweep_id, bracket)
        if was is None:
            raise LookupError(f"bracket {bracket} of sweep row {sweep_id} has losses, but no threshold")
        now: _Threshold | None
        if (loss, run_id) == (was.loss, was.run_id):
            # Whoever is next takes its place, or else the one before it.
            now = self._neighbour(sweep_id, bracket, was, 1) or self._neighbour(sweep_id, bracket, was, -1)
            if now is not None:
                now = _Threshold(was.count - 1, min(was.position, now.position), now.loss, now.run_id)
        else:
            comes_before = (loss, run_id) < (was.loss, was.run_id)
            now = _Threshold(was.count - 1, was.position - comes_before, was.loss, was.run_id)
        self._db.execute(
            "DELETE FROM bracket_losses WHERE sweep_id = ? AND bracket = ? AND loss = ? AND run_id = ?",
            (sweep_id, bracket, loss, run_id),
        )
        if now is None:
            self._db.execute("DELETE FROM brackets WHERE sweep_id = ? AND bracket = ?", (sweep_id, bracket))
        else:
            self._put_threshold(sweep_id, bracket, self._moved(sweep_id, bracket, now, rule))

    def _moved(self, sweep_id: int, bracket: int, threshold: _Threshold, rule: Hyperband) -> _Threshold:
        """The entry that is the threshold by now; a step away at most, since one loss more or less was counted."""
        target = rule.threshold_position(threshold.count)
        while threshold.position != target:
            direction = 1 if threshold.position < target else -1
            neighbour = self._neighbour(sweep_id, bracket, threshold, direction)
            if neighbour is None:
                raise LookupError(f"bracket {bracket} of sweep row {sweep_id} has less than {threshold.count} losses")
            threshold = neighbour
        return threshold

    def _neighbour(self, sweep_id: int, bracket: int, entry: _Threshold, direction: int) -> _Threshold | None:
        row = self._db.row(_NEXT if direction > 0 else _PREVIOUS, (sweep_id, bracket, entry.loss, entry.run_id))
        if row is None:
            return None
        return _Threshold(entry.count, entry.position + direction, row["loss"], row["run_id"])

    def _threshold(self, sweep_id: int, bracket: int) -> _Threshold | None:
        row = self._db.row(
            "SELECT count, position, loss, run_id FROM brackets WHERE sweep_id = ? AND bracket = ?",
            (sweep_id, bracket),
        )
        return None if row is None else _Threshold(**dict(row))

    def _put_threshold(self, sweep_id: int, bracket: int, now: _Threshold) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO brackets (sweep_id, bracket, count, position, loss, run_id) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (sweep_id, bracket, now.count, now.position, now.loss, now.run_id),
        )
