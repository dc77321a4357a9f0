"""Filters and orders of run lists: from W&B's MongoDB-like JSON to SQL. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import regex

from . import jsontext
from .errors import ClientError

_COLUMNS = {
    "state": "state",
    "name": "name",
    "display_name": "COALESCE(display_name, runs.name)",
    "displayname": "COALESCE(display_name, runs.name)",
    "group": "group_name",
    "job_type": "job_type",
    "jobtype": "job_type",
    "host": "host",
    "notes": "notes",
    "created_at": "created_at",
    "createdat": "created_at",
    "heartbeat_at": "heartbeat_at",
    "heartbeatat": "heartbeat_at",
    "sweep": "(SELECT sweeps.name FROM sweeps WHERE sweeps.id = runs.sweep_id)",
}
_TIMES = ("created_at", "heartbeat_at")
# They always have a value, which is what it is: an index may give the order.
_ALWAYS_THERE = ("state", "name", *_TIMES)
_COMPARISONS = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
# Below the limits of SQLite: a parser stack of 100, expressions 1000 deep, 32766 parameters (two or more per value).
_MAX_DEPTH = 7
_MAX_PARAMETERS = 10_000
_CHUNK = 50
# SQLite's integers have 64 bits.
_MAX_INTEGER = 2**63


@dataclass(frozen=True)
class Condition:
    """An SQL expression and its parameters."""

    sql: str
    parameters: tuple[Any, ...] = ()


@dataclass(frozen=True)
class _JsonValue(Condition):
    """An SQL value out of JSON. kind: SQL, with the same parameters, for its type there: SQLite's values know no true
    and false, but to W&B they aren't 1 and 0."""

    kind: str = ""

    def is_kind(self, *kinds: str) -> Condition:
        return Condition(f"{self.kind} IN ({', '.join('?' * len(kinds))})", (*self.parameters, *kinds))


ALWAYS = Condition("1")
NEVER = Condition("0")


def parse_filters(text: str | None) -> Condition:
    """Read a `filters` argument.

    Raises:
        ClientError: It is no JSON object, or names a key or operator that this server doesn't know.
    """
    condition = _all_of(_read(text), 0)
    if len(condition.parameters) > _MAX_PARAMETERS:
        raise ClientError("filters: too many conditions; to look for one of many values use $in")
    return condition


def sweep_named_in(text: str | None) -> str | None:
    """The name of a sweep that every run which satisfies a `filters` argument belongs to, if it is plain to see.

    Raises:
        ClientError: It is no JSON.
    """
    return _sweep_of(_read(text), 0)


def _read(text: str | None) -> Any:
    if not text:
        return {}
    try:
        return jsontext.loads(text) or {}
    except ValueError as error:
        raise ClientError(f"filters is not valid JSON: {error}") from error


def _sweep_of(filters: Any, depth: int) -> str | None:
    if not isinstance(filters, Mapping) or depth > _MAX_DEPTH:
        return None
    name = filters.get("sweep")
    if isinstance(name, str):
        return name
    parts = filters.get("$and")
    names = (_sweep_of(part, depth + 1) for part in parts) if isinstance(parts, list) else ()
    return next((name for name in names if name is not None), None)


def parse_order(text: str | None) -> Condition:
    """Read an `order` argument such as "+created_at" or "-summary_metrics.loss"; None is the newest first.

    Raises:
        ClientError: It names a key that this server doesn't know.
    """
    direction, key = "DESC", "created_at"
    if text:
        direction = "DESC" if text.startswith("-") else "ASC"
        key = text.lstrip("+-")
    if (column := _value(key)).sql in _ALWAYS_THERE:
        return Condition(f"{column.sql} {direction}, id {direction}")
    value = _rank(column)
    # Runs without the value (or with NaN) come last in both directions: best_run() asks for the first.
    nulls = Condition(f"({value.sql}) IS NULL", value.parameters)
    return Condition(f"{nulls.sql}, {value.sql} {direction}, id {direction}", nulls.parameters + value.parameters)


def _all_of(filters: Any, depth: int) -> Condition:
    if not isinstance(filters, Mapping):
        raise ClientError(f"filters: {filters!r} must be a JSON object")
    if depth > _MAX_DEPTH:
        raise ClientError(f"filters: nested deeper than {_MAX_DEPTH}")
    return _join("AND", [_condition(str(key), value, depth) for key, value in filters.items()])


def _condition(key: str, value: Any, depth: int) -> Condition:
    if key in ("$and", "$or", "$nor"):
        if not isinstance(value, list):
            raise ClientError(f"filters: {key} = {value!r} must be a list")
        joined = _join("AND" if key == "$and" else "OR", [_all_of(item, depth + 1) for item in value])
        return _negated(joined) if key == "$nor" else joined
    if key == "$not":
        return _negated(_all_of(value, depth + 1))
    if key.startswith("$"):
        raise ClientError(f"filters: operator {key} is not available in this server")
    if key == "tags":
        return _tags(value)
    operand = _value(key)
    if operand.sql in _TIMES:
        value = _in_seconds(key, value)
    if isinstance(value, Mapping) and any(str(k).startswith("$") for k in value):
        return _join("AND", [_operation(operand, str(op), argument, depth) for op, argument in value.items()])
    return _equals(operand, value)


def _value(key: str) -> Condition:
    """The SQL value of a key such as `state`, `config.lr` or `summary_metrics.loss`."""
    section, _, rest = key.partition(".")
    if section in ("summary_metrics", "summaryMetrics", "summary") and rest:
        return _json("summary", [_path(rest), _path(*rest.split("."))])
    if section == "config" and rest:
        name = rest.removesuffix(".value")
        head, *tail = name.split(".")
        return _json("config", [_path(name, "value"), _path(head, "value", *tail)])
    column = _COLUMNS.get(key.lower())
    if column is None:
        raise ClientError(
            f"filters: key {key!r} is not available in this server; there are config.<key>, summary_metrics.<key>, "
            "tags, " + ", ".join(sorted({k for k in _COLUMNS if k == k.lower()}))
        )
    return Condition(column)


def _json(column: str, paths: list[str]) -> Condition:
    # A key with dots may be one flat key or a nested one.
    values, kinds = (", ".join(f"{read}({column}, ?)" for _ in paths) for read in ("json_extract", "json_type"))
    return _JsonValue(f"COALESCE({values})", tuple(paths), f"COALESCE({kinds})")


def _path(*names: str) -> str:
    for name in names:
        # SQLite has no way to write these in a path.
        if '"' in name or "\x00" in name:
            raise ClientError(f"filters: key {name!r} cannot be looked up in this server")
    return "$" + "".join(f'."{name}"' for name in names)


def _rank(value: Condition) -> Condition:
    """The value as something to compare: texts that stand for infinities as such, the one for NaN as NULL."""
    return Condition(
        f"CASE {value.sql} WHEN 'NaN' THEN NULL WHEN 'Infinity' THEN 9e999 WHEN '-Infinity' THEN -9e999 "
        f"ELSE {value.sql} END",
        value.parameters * 2,
    )


def _in_seconds(key: str, value: Any) -> Any:
    """Times as clients write them (ISO 8601, UTC if they don't say), as the seconds that are stored."""
    if isinstance(value, Mapping):
        return {k: v if k == "$exists" else _in_seconds(key, v) for k, v in value.items()}
    if isinstance(value, list):
        return [_in_seconds(key, item) for item in value]
    if not isinstance(value, str):
        return value
    try:
        time = datetime.fromisoformat(value.replace("Z", "+00:00"))
    except ValueError as error:
        raise ClientError(f"filters: {key} = {value!r} must be a time such as 2025-12-31T23:59:59") from error
    return (time if time.tzinfo else time.replace(tzinfo=timezone.utc)).timestamp()


def _operation(operand: Condition, operator: str, argument: Any, depth: int) -> Condition:
    if operator in _COMPARISONS:
        return _compared(operand, operator, argument)
    if operator == "$eq":
        return _equals(operand, argument)
    if operator == "$ne":
        return _negated(_equals(operand, argument))
    if operator in ("$in", "$nin"):
        if not isinstance(argument, list):
            raise ClientError(f"filters: {operator} = {argument!r} must be a list")
        found = _one_of(operand, argument)
        return found if operator == "$in" else _negated(found)
    if operator == "$exists":
        return Condition(f"({operand.sql}) IS {'NOT ' if argument else ''}NULL", operand.parameters)
    if operator == "$regex":
        return Condition(f"{operand.sql} REGEXP ?", (*operand.parameters, _pattern(argument)))
    if operator == "$not" and isinstance(argument, Mapping):
        if depth > _MAX_DEPTH:
            raise ClientError(f"filters: nested deeper than {_MAX_DEPTH}")
        inner = [_operation(operand, str(op), value, depth + 1) for op, value in argument.items()]
        return _negated(_join("AND", inner))
    raise ClientError(f"filters: operator {operator} is not available in this server")


def _compared(operand: Condition, operator: str, argument: Any) -> Condition:
    # In SQLite every text is greater than every number; a comparison is meant among its own kind only.
    if isinstance(argument, str):
        kind = "= 'text'"
    elif isinstance(argument, int | float):
        kind = "IN ('integer', 'real')"
    else:
        raise ClientError(f"filters: {operator} = {argument!r} must be a number or a text")
    value = _rank(operand)
    found = Condition(
        f"typeof({value.sql}) {kind} AND {value.sql} {_COMPARISONS[operator]} ?",
        (*value.parameters * 2, _bindable(argument)),
    )
    return _and_no_boolean(operand, found)


def _and_no_boolean(operand: Condition, found: Condition) -> Condition:
    if not isinstance(operand, _JsonValue):
        return found
    boolean = operand.is_kind("true", "false")
    return Condition(f"{found.sql} AND NOT {boolean.sql}", found.parameters + boolean.parameters)


def _tags(value: Any) -> Condition:
    operations = value if isinstance(value, Mapping) else {"$in": [value]}
    conditions = []
    for operator, tags in operations.items():
        if operator not in ("$in", "$nin") or not isinstance(tags, list):
            raise ClientError(f"filters: tags = {value!r} must be a tag, {{'$in': [tags]}} or {{'$nin': [tags]}}")
        found = Condition(
            "EXISTS (SELECT 1 FROM json_each(runs.tags) AS tag WHERE tag.value IN (SELECT value FROM json_each(?)))",
            (jsontext.dumps(tags),),
        )
        conditions.append(found if operator == "$in" else _negated(found))
    return _join("AND", conditions)


def _equals(operand: Condition, value: Any) -> Condition:
    if isinstance(value, bool) and isinstance(operand, _JsonValue):
        return operand.is_kind("true" if value else "false")
    found = Condition(f"{operand.sql} IS ?", (*operand.parameters, _bindable(jsontext.finite(value))))
    return _and_no_boolean(operand, found) if isinstance(value, int | float) else found


def _one_of(operand: Condition, values: list[Any]) -> Condition:
    alone = [value for value in (None, True, False) if any(item is value for item in values)]
    # One parameter, however many values there are.
    listed = jsontext.dumps([value for value in values if not (value is None or isinstance(value, bool))])
    sql = f"{operand.sql} IN (SELECT value FROM json_each(?))"  # noqa: S608 (operand: see page() in listing.py)
    found = _and_no_boolean(operand, Condition(sql, (*operand.parameters, listed)))
    return _join("OR", [found, *(_equals(operand, value) for value in alone)])


def _negated(condition: Condition) -> Condition:
    # Not the SQL NOT alone: NULL (a missing key) must count as "doesn't match", so that its negation matches.
    return Condition(f"({condition.sql}) IS NOT TRUE", condition.parameters)


def _join(operator: str, conditions: list[Condition]) -> Condition:
    if not conditions:
        return ALWAYS if operator == "AND" else NEVER
    if len(conditions) == 1:
        return conditions[0]
    if len(conditions) > _CHUNK:
        chunks = [conditions[i : i + _CHUNK] for i in range(0, len(conditions), _CHUNK)]
        return _join(operator, [_join(operator, chunk) for chunk in chunks])
    sql = f" {operator} ".join(f"({c.sql})" for c in conditions)
    return Condition(sql, tuple(p for c in conditions for p in c.parameters))


def _bindable(value: Any) -> Any:
    if isinstance(value, bool):
        return int(value)  # what json_extract makes of true and false
    if isinstance(value, int) and not -_MAX_INTEGER <= value < _MAX_INTEGER:
        return _as_float(value)  # what json_extract makes of it
    if value is None or isinstance(value, int | float | str):
        return value
    return jsontext.dumps(value)  # what json_extract makes of lists and objects


def _as_float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _pattern(value: Any) -> str:
    try:
        regex.compile(str(value))
    except (regex.error, OverflowError, RecursionError) as error:
        raise ClientError(f"filters: $regex = {value!r}: {error}") from error
    return str(value)
