"""Steps of a run's history: what they are, and how the lines with some of them are found.

Steps are not line numbers: they may have gaps, and start again where a run was taken up again. But nearly always they
ascend, and then the lines with the steps of a page are found as a word is in a dictionary.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import Any

from . import jsontext
from .database import Database
from .filestream import Chunk
from .records import Run


def row_of(text: str) -> dict[str, Any]:
    """A line of history as the process sent it; one that is no JSON object has no keys."""
    try:
        row = jsontext.loads(text)
    except ValueError:
        return {}
    return row if isinstance(row, dict) else {}


def step_of(row: dict[str, Any]) -> float:
    """The step of a row: 0 if it has none, or one that is no number."""
    step = row.get("_step", 0)
    return step if isinstance(step, int | float) else 0


_EDGES = (
    "SELECT text FROM stream_lines WHERE run_id = ? AND stream = 'history' AND line < ? ORDER BY line DESC LIMIT 1",
    "SELECT text FROM stream_lines WHERE run_id = ? AND stream = 'history' AND line >= ? ORDER BY line LIMIT 1",
)


class Histories:
    """Histories of runs in the database."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def ascends_with(self, run: Run, chunk: Chunk) -> bool:
        """Whether no step of a history is lower than the one before, nor NaN, once it has these lines.

        It need not be looked at as a whole: `Run.steps_ascend` says so of what it was until now. Lines may replace
        others (see `Chunk`); a history that did not ascend isn't looked at again.
        """
        if not run.steps_ascend or not chunk.lines:
            return bool(run.steps_ascend)
        edges = ((_EDGES[0], chunk.offset), (_EDGES[1], chunk.offset + len(chunk.lines)))
        before, after = ([row["text"] for row in self._db.rows(sql, (run.id, line))] for sql, line in edges)
        steps = [step_of(row_of(text)) for text in (*before, *chunk.lines, *after)]
        # NaN is in order with nothing, infinity included.
        return all(step <= following for step, following in zip(steps, [*steps[1:], math.inf], strict=True))

    def lines_around(self, run: Run, low: float, high: float) -> list[str]:
        """Lines among which are all with low <= step < high, in their order: no others if the run's steps ascend,
        else its whole history."""
        sql = "SELECT text FROM stream_lines WHERE run_id = ? AND stream = 'history' AND line >= ? AND line < ?"
        first, end = (
            (self._first_line(run, low), self._first_line(run, high)) if run.steps_ascend else (0, run.history_lines)
        )
        return [row["text"] for row in self._db.rows(f"{sql} ORDER BY line", (run.id, first, end))]

    def _first_line(self, run: Run, step: float) -> int:
        """The number from which on the lines of a history that ascends have at least this step."""
        return bisect_left(range(run.history_lines), step, key=lambda line: self._step_from(run, line))

    def _step_from(self, run: Run, line: int) -> float:
        # Numbers may have gaps, also after the last line.
        text: str | None = self._db.value(_EDGES[1], (run.id, line))
        return math.inf if text is None else step_of(row_of(text))
