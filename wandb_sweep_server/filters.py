"""Filters and orders of run lists: from W&B's MongoDB-like JSON to SQL. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from . import jsontext
from .errors import ClientError

_COLUMNS = {
    "state": "state",
    "name": "name",
    "display_name": "display_name",
    "displayname": "display_name",
    "group": "group_name",
    "job_type": "job_type",
    "jobtype": "job_type",
    "host": "host",
    "created_at": "created_at",
    "createdat": "created_at",
    "heartbeat_at": "heartbeat_at",
    "heartbeatat": "heartbeat_at",
    "sweep": "(SELECT sweeps.name FROM sweeps WHERE sweeps.id = runs.sweep_id)",
}
_COMPARISONS = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
_MAX_DEPTH = 20


@dataclass(frozen=True)
class Condition:
    """An SQL expression and its parameters."""

    sql: str
    parameters: tuple[Any, ...] = ()


ALWAYS = Condition("1")


def parse_filters(text: str | None) -> Condition:
    """Read a `filters` argument.

    Raises:
        ClientError: It is no JSON object, or names a key or operator that this server doesn't know.
    """
    if not text:
        return ALWAYS
    try:
        filters = jsontext.loads(text)
    except ValueError as error:
        raise ClientError(f"filters is not valid JSON: {error}") from error
    return _all_of(filters or {}, 0)


def parse_order(text: str | None) -> Condition:
    """Read an `order` argument such as "+created_at" or "-summary_metrics.loss"; None is the newest first.

    Raises:
        ClientError: It names a key that this server doesn't know.
    """
    direction, key = "DESC", "created_at"
    if text:
        direction = "DESC" if text.startswith("-") else "ASC"
        key = text.lstrip("+-")
    value = _value(key)
    # Runs without the value come last in both directions: best_run() asks for the first.
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
    values = ", ".join(f"json_extract({column}, ?)" for _ in paths)
    return Condition(f"COALESCE({values})", tuple(paths))


def _path(*names: str) -> str:
    return "$" + "".join('."' + name.replace('"', "") + '"' for name in names)


def _operation(operand: Condition, operator: str, argument: Any, depth: int) -> Condition:
    if operator in _COMPARISONS:
        return Condition(f"{operand.sql} {_COMPARISONS[operator]} ?", (*operand.parameters, _bindable(argument)))
    if operator == "$eq":
        return _equals(operand, argument)
    if operator == "$ne":
        return _negated(_equals(operand, argument))
    if operator in ("$in", "$nin"):
        if not isinstance(argument, list):
            raise ClientError(f"filters: {operator} = {argument!r} must be a list")
        found = _join("OR", [_equals(operand, item) for item in argument]) if argument else Condition("0")
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


def _tags(value: Any) -> Condition:
    wanted = value.get("$in") if isinstance(value, Mapping) else [value]
    if not isinstance(wanted, list):
        raise ClientError(f"filters: tags = {value!r} must be a tag or {{'$in': [tags]}}")
    marks = ", ".join("?" * len(wanted)) or "NULL"
    return Condition(
        f"EXISTS (SELECT 1 FROM json_each(runs.tags) WHERE value IN ({marks}))",  # noqa: S608 (question marks)
        tuple(_bindable(tag) for tag in wanted),
    )


def _equals(operand: Condition, value: Any) -> Condition:
    return Condition(f"{operand.sql} IS ?", (*operand.parameters, _bindable(value)))


def _negated(condition: Condition) -> Condition:
    # Not the SQL NOT alone: NULL (a missing key) must count as "doesn't match", so that its negation matches.
    return Condition(f"NOT COALESCE(({condition.sql}), 0)", condition.parameters)


def _join(operator: str, conditions: list[Condition]) -> Condition:
    if not conditions:
        return ALWAYS
    sql = f" {operator} ".join(f"({c.sql})" for c in conditions)
    return Condition(sql, tuple(p for c in conditions for p in c.parameters))


def _bindable(value: Any) -> Any:
    if isinstance(value, bool):
        return int(value)  # what json_extract makes of true and false
    if value is None or isinstance(value, int | float | str):
        return value
    return jsontext.dumps(value)  # what json_extract makes of lists and objects


def _pattern(value: Any) -> str:
    try:
        re.compile(str(value))
    except re.error as error:
        raise ClientError(f"filters: $regex = {value!r}: {error}") from error
    return str(value)
