"""Histories of all runs of a sweep, sampled for charts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from starlette.concurrency import run_in_threadpool

from wandb_sweep_server import jsontext
from wandb_sweep_server.database import Database
from wandb_sweep_server.history import row_of, step_of
from wandb_sweep_server.importance import is_finite
from wandb_sweep_server.listing import spread

from .metrics import numbers_in

T = TypeVar("T")
RunInStore = Callable[[Callable[[], Any]], Awaitable[Any]]

MOST_POINTS = 2_000
# Of all runs together: more are neither seen nor drawn.
_MOST_IN_ALL = 200_000
# Lines that the store looks at in one piece of work, between which it answers others.
_LINES_AT_ONCE = 20_000
# Lines of all runs together among which those with a key are looked for; but so many for each point at least.
_LINES_IN_ALL = 2_000_000
_LINES_PER_POINT = 20
# Keys are looked for in so many runs, and in so many lines of each.
_RUNS_WITH_KEYS = 100
_LINES_WITH_KEYS = 100

_RUNS = (
    "SELECT id, name, history_lines FROM runs INDEXED BY runs_of_sweep "
    "WHERE sweep_id = ? AND history_lines > 0 ORDER BY created_at"
)
_LINES = (
    "SELECT line FROM stream_lines WHERE run_id = ? AND stream = 'history' AND instr(text, ?) > 0 "
    "AND (?3 IS NULL OR line IN (SELECT value FROM json_each(?3))) ORDER BY line"
)
_TEXTS = (
    "SELECT text FROM stream_lines WHERE run_id = ? AND stream = 'history' "
    "AND line IN (SELECT value FROM json_each(?)) ORDER BY line"
)


@dataclass(frozen=True)
class _Run:
    id: int
    name: str
    history_lines: int


class SweepHistories:
    """Reads in pieces that the store does between other work; what is read is understood in other threads."""

    def __init__(self, database: Database, run_in_store: RunInStore) -> None:
        self._db = database
        self._run_in_store = run_in_store

    async def of_key(self, sweep_id: int, key: str, points: int) -> list[dict[str, Any]]:
        """The history of a key in each run that has it, `{"id", "steps", "values"}`, of at most `points` points.

        The points are spread evenly, the first and the last among them. Only finite numbers count.
        """
        runs = await self._runs(sweep_id)
        points = max(2, min(points, _MOST_IN_ALL // max(1, len(runs)), MOST_POINTS))
        most = min(_LINES_AT_ONCE, max(points * _LINES_PER_POINT, _LINES_IN_ALL // max(1, len(runs))))
        needle = _needle(key)
        histories: list[dict[str, Any]] = []
        for part in _pieces(runs, most):
            texts = await self._run_in_store(partial(self._texts_of, part, needle, most, points))
            histories += await run_in_threadpool(_curves, part, texts, key)
        return histories

    async def keys(self, sweep_id: int) -> list[str]:
        """Keys that histories have numbers under, in the order in which they are met."""
        runs = spread(await self._runs(sweep_id), _RUNS_WITH_KEYS)
        keys: dict[str, None] = {}
        for part in _pieces(runs, _LINES_WITH_KEYS):
            texts = await self._run_in_store(partial(self._texts_of, part, "", _LINES_WITH_KEYS, _LINES_WITH_KEYS))
            keys |= await run_in_threadpool(_keys_in, texts)
        return list(keys)

    async def _runs(self, sweep_id: int) -> list[_Run]:
        rows = await self._run_in_store(lambda: self._db.rows(_RUNS, (sweep_id,)))
        return [_Run(*row) for row in rows]

    def _texts_of(self, runs: Sequence[_Run], needle: str, most: int, points: int) -> list[list[str]]:
        return [self._texts_with(run, needle, most, points) for run in runs]

    def _texts_with(self, run: _Run, needle: str, most: int, points: int) -> list[str]:
        """At most `points` lines that may have the key, evenly spread; of longer histories than `most` lines, of so
        many evenly spread ones."""
        texts = self._texts_at(run, spread(range(run.history_lines), points))
        if all(needle in text for text in texts):  # as in most histories: no other line need be looked at
            return texts
        among = None
        if run.history_lines > most:
            among = jsontext.dumps(spread(range(run.history_lines), most))
        lines = [row["line"] for row in self._db.rows(_LINES, (run.id, needle, among))]
        return self._texts_at(run, spread(lines, points))

    def _texts_at(self, run: _Run, lines: Sequence[int]) -> list[str]:
        return [row["text"] for row in self._db.rows(_TEXTS, (run.id, jsontext.dumps(list(lines))))]


def _needle(key: str) -> str:
    """What every line has in which the key is, nested or not; "" where JSON has several ways to write it."""
    parent, _, last = key.rpartition(".")
    is_plain = last.isascii() and last.isprintable() and not set('"\\<>&') & set(last)
    return "" if not is_plain else f'{last}"' if parent else f'"{last}"'


def _pieces(runs: Sequence[_Run], most_lines: int) -> Iterator[list[_Run]]:
    """The runs in pieces of so much work for the store. most_lines: that are looked at of one run."""
    piece: list[_Run] = []
    lines = 0
    for run in runs:
        piece.append(run)
        lines += min(run.history_lines, most_lines)
        if lines >= _LINES_AT_ONCE:
            yield piece
            piece, lines = [], 0
    if piece:
        yield piece


def _curves(runs: list[_Run], texts: list[list[str]], key: str) -> list[dict[str, Any]]:
    curves = []
    for run, lines in zip(runs, texts, strict=True):
        rows = [row_of(text) for text in lines]
        points = [(step_of(row), jsontext.value_at(row, key)) for row in rows]
        points = [(step, value) for step, value in points if is_finite(value) and is_finite(step)]
        if points:
            steps, values = zip(*points, strict=True)
            curves.append({"id": run.name, "steps": steps, "values": values})
    return curves


def _keys_in(texts: list[list[str]]) -> dict[str, None]:
    return {key: None for lines in texts for text in lines for key in numbers_in(row_of(text))}
