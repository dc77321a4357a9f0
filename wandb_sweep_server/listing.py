"""Lists of runs: filtered, ordered, page by page; and samples of their histories."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from . import jsontext
from .database import Database
from .errors import ClientError
from .filters import Condition, parse_filters, parse_order, sweep_named_in
from .history import Histories, row_of, step_of
from .records import Project, Run
from .runs import Runs

T = TypeVar("T")

_DEFAULT_PAGE = 50
MAX_PAGE = 10_000
_MAX_OFFSET = 2**62
_DEFAULT_SAMPLES = 500
_ABSENT = object()


@dataclass(frozen=True)
class Page(Generic[T]):
    """Part of a list; `offset` is the place of its first item."""

    items: list[T]
    offset: int
    has_next: bool

    def cursor(self, index: int) -> str:
        """The opaque place after the item with that index in this page."""
        return base64.b64encode(f"after:{self.offset + index + 1}".encode()).decode()


def page_bounds(after: str | None, first: int | None) -> tuple[int, int]:
    """Return (offset, count) of a page.

    Raises:
        ClientError: The cursor is none of ours, or `first` is negative.
    """
    count = _DEFAULT_PAGE if first is None else min(first, MAX_PAGE)
    if count < 0:
        raise ClientError(f"first = {first} must not be negative")
    if not after:
        return 0, count
    try:
        word, _, number = base64.b64decode(after, validate=True).decode().partition(":")
        if word == "after" and 0 <= int(number) <= _MAX_OFFSET:
            return int(number), count
    except (binascii.Error, UnicodeDecodeError, ValueError):
        pass
    raise ClientError(f"after = {after!r} is not a cursor of this server")


def page_of(items: list[T], offset: int, count: int) -> Page[T]:
    """A page from `count + 1` items that were looked up; the last one only tells that there are more."""
    return Page(items[:count], offset, len(items) > count)


class RunLists:
    """Queries for many runs."""

    def __init__(self, database: Database, runs: Runs) -> None:
        self._db = database
        self._runs = runs
        self._histories = Histories(database)

    def page(
        self, scope: Condition, filters: str | None, order: str | None, after: str | None, first: int | None
    ) -> Page[Run]:
        """Runs within `scope` (an SQL condition of ours) that satisfy a client's filters.

        Raises:
            ClientError: Filters, order or cursor are wrong.
        """
        offset, count = page_bounds(after, first)
        wanted, sorting = parse_filters(filters), parse_order(order)
        rows = self._db.rows(
            # Parts come from filters.py, which puts what clients say into parameters only.
            f"SELECT * FROM runs WHERE {scope.sql} AND ({wanted.sql}) ORDER BY {sorting.sql} LIMIT ? OFFSET ?",  # noqa: S608
            (*scope.parameters, *wanted.parameters, *sorting.parameters, count + 1, offset),
        )
        return page_of([Run(**dict(row)) for row in rows], offset, count)

    def count(self, scope: Condition, filters: str | None) -> int:
        """How many runs `page` would list in all."""
        wanted = parse_filters(filters)
        sql = f"SELECT COUNT(*) FROM runs WHERE {scope.sql} AND ({wanted.sql})"  # noqa: S608
        return int(self._db.value(sql, (*scope.parameters, *wanted.parameters)))

    def page_of_project(
        self, project: Project, filters: str | None, order: str | None, after: str | None, first: int | None
    ) -> Page[Run]:
        """A project's runs that satisfy a client's filters. Raises: ClientError, as `page` does."""
        return self.page(_scope(project, filters), filters, order, after, first)

    def count_of_project(self, project: Project, filters: str | None) -> int:
        """How many runs `page_of_project` would list in all."""
        return self.count(_scope(project, filters), filters)

    def sampled_lines(self, run: Run, stream: str, samples: int | None) -> list[str]:
        """At most `samples` lines of a stream, evenly spread."""
        numbers = getattr(run, f"{stream}_lines")
        count = self._runs.line_count(run, stream)
        places = spread(range(count), samples or _DEFAULT_SAMPLES)
        if count == numbers:
            return self._runs.lines_at(run, stream, places)
        lines = self._runs.lines(run, stream, 0, numbers)
        return [lines[place][1] for place in places]

    def history_lines(self, run: Run, min_step: int | None, max_step: int | None) -> list[str]:
        """All lines of the history with a step from `min_step` up to but without `max_step`."""
        low = -math.inf if min_step is None else min_step
        high = math.inf if max_step is None else max_step
        lines = self._histories.lines_around(run, low, high)
        return lines if run.steps_ascend else [text for text in lines if low <= step_of(row_of(text)) < high]

    def sampled_history(self, run: Run, spec: str) -> list[dict[str, Any]]:
        """Rows of a run's history that have all keys of a spec `{"keys": […], "samples": n, "minStep": …}`.

        Raises:
            ClientError: The spec is no JSON, or has a part of the wrong type.
        """
        wanted = _HistorySpec.parse(spec)
        if not wanted.keys:
            return []
        rows = []
        for text in self._histories.lines_around(run, wanted.min_step, wanted.max_step):
            row = row_of(text)
            values = {key: jsontext.value_at(row, key, _ABSENT) for key in wanted.keys}
            if _ABSENT not in values.values() and wanted.min_step <= step_of(row) < wanted.max_step:
                rows.append(jsontext.finite(values))
        return list(spread(rows, wanted.samples))


def _scope(project: Project, filters: str | None) -> Condition:
    name = sweep_named_in(filters)
    if name is None:
        return Condition("project_id = ?", (project.id,))
    # Without the project, which the sweep implies: SQLite might take its index, and look at all other runs too.
    return Condition("sweep_id = (SELECT id FROM sweeps WHERE project_id = ? AND name = ?)", (project.id, name))


@dataclass(frozen=True)
class _HistorySpec:
    keys: tuple[str, ...]
    samples: int
    min_step: float
    max_step: float

    @classmethod
    def parse(cls, text: str) -> _HistorySpec:
        try:
            spec = jsontext.loads(text or "{}") or {}
        except ValueError as error:
            raise ClientError(f"specs: {text!r} is not valid JSON: {error}") from error
        keys = spec.get("keys") if isinstance(spec, dict) else None
        if not isinstance(spec, dict) or not isinstance(keys or [], list):
            raise ClientError(f"specs: {text!r} must be a JSON object with a list of keys")
        numbers = {key: spec.get(key) for key in ("samples", "minStep", "maxStep")}
        for key, number in numbers.items():
            if number is not None and not isinstance(number, int):
                raise ClientError(f"specs: {key} = {number!r} must be an integer")
        low, high = numbers["minStep"], numbers["maxStep"]
        return cls(
            tuple(map(str, keys or ())),
            numbers["samples"] or _DEFAULT_SAMPLES,
            -math.inf if low is None else low,
            math.inf if high is None else high,
        )


def spread(items: Sequence[T], samples: int) -> Sequence[T]:
    """At most so many of the items, evenly spread, the last one among them."""
    if len(items) <= samples:
        return items
    # The last one is always among them: it is the present.
    if samples == 1:
        return items[-1:]
    step = (len(items) - 1) / max(1, samples - 1)
    return [items[round(i * step)] for i in range(samples)]
