"""How much a sweep's metric depends on each of its parameters, by ranks. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

BY = "rank correlation"
# Fewer runs have no figure: two of them are always perfectly correlated.
_FEWEST_RUNS = 3
# Nobody is shown figures of fewer runs. Of four, one parameter in twelve that does nothing is perfectly correlated;
# of ten, one in twenty has a correlation beyond 0.65. Optuna's samplers, too, believe in a model from ten trials on.
FEWEST_TO_TELL = 10
# So many runs per value, on average, let numbers be looked at as categories too.
_RUNS_PER_VALUE = 3


@dataclass(frozen=True)
class Importance:
    """How important a parameter is.

    importance: 0 to 1, the share of the variance of the metric's ranks that the parameter alone explains.
    correlation: Spearman's, -1 to 1; None for a category, and where all values or metrics are equal.
    """

    name: str
    importance: float
    correlation: float | None


def importance(parameters: Mapping[str, Sequence[Any]], metric: Sequence[float | None]) -> list[Importance]:
    """Return the importance of each parameter, largest first; [] if fewer than 3 runs have the metric.

    parameters: name -> a value per run, None where a run has none. metric: a value per run, None where it has none;
    those that aren't finite count as None. A parameter whose values are all numbers is one of numbers, any other one
    a category. Numbers are ranked, with average ranks for equal ones, and correlated with the metric's ranks; for
    categories it is the correlation ratio. Both are adjusted for what chance would explain. For numbers with few
    different values it is the larger of the two: the best one may be in the middle.
    """
    if sum(is_finite(value) for value in metric) < _FEWEST_RUNS:
        return []
    found = [_importance(name, values, metric) for name, values in parameters.items()]
    return sorted(found, key=lambda one: -one.importance)


def reason_not_to_tell(parameters: Mapping[str, Sequence[Any]], metric: Sequence[float | None]) -> str | None:
    """Return why figures of importance would mislead, as a sentence; None if they don't.

    parameters, metric: as of `importance`.
    """
    runs = [index for index, value in enumerate(metric) if is_finite(value)]
    if len(runs) < FEWEST_TO_TELL:
        return (
            f"Too few finished trials have the metric to tell what matters: {len(runs)} of at least {FEWEST_TO_TELL}."
        )
    different = [name for name, values in parameters.items() if _differs(values[index] for index in runs)]
    if len(different) == 1:
        return f"Only '{different[0]}' differs between the trials: there is nothing to compare its importance with."
    return None if different else "No parameter differs between the trials that have finished."


def is_number(value: object) -> bool:
    """True for an int or a float; a bool is none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_finite(value: object) -> bool:
    """True for a number that is neither infinite nor NaN; an int beyond the largest float counts as infinite."""
    if not is_number(value):
        return False
    try:
        return math.isfinite(value)  # type: ignore[arg-type]
    except OverflowError:
        return False


def _importance(name: str, values: Sequence[Any], metric: Sequence[float | None]) -> Importance:
    both = [(x, y) for x, y in zip(values, metric, strict=True) if not _is_absent(x) and is_finite(y)]
    chosen, metrics = [x for x, _ in both], ranks([y for _, y in both])
    if len(both) < _FEWEST_RUNS or len(set(metrics)) == 1:
        return Importance(name, 0.0, None)
    if not all(is_number(value) for value in chosen):
        return Importance(name, _explained_by_groups(chosen, metrics), None)
    correlation = _correlation(ranks(chosen), metrics)
    explained = _adjusted(correlation**2, 2, len(both)) if correlation is not None else 0.0
    if len(set(chosen)) * _RUNS_PER_VALUE <= len(chosen):
        explained = max(explained, _explained_by_groups(chosen, metrics))
    return Importance(name, explained, correlation)


def _differs(values: Iterable[Any]) -> bool:
    return len({_level(value) for value in values if not _is_absent(value)}) > 1


def _level(value: Any) -> str:
    # Lists and mappings are values too. 1 and 1.0 are one number, but no text or bool.
    return repr(float(value)) if is_finite(value) else repr(value)


def _is_absent(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def ranks(values: Sequence[Any]) -> list[float]:
    """Return the rank of each value, from 1; equal ones share the average of theirs."""
    order = sorted(range(len(values)), key=values.__getitem__)
    result = [0.0] * len(values)
    before = 0
    for _, group in groupby(order, key=values.__getitem__):
        alike = list(group)
        for index in alike:
            result[index] = before + (len(alike) + 1) / 2
        before += len(alike)
    return result


def _correlation(xs: Sequence[float], ys: Sequence[float]) -> float | None:
    # Ranks average (n + 1) / 2, ties or not. All are multiples of 1/2, so that the sums are exact.
    middle = (len(xs) + 1) / 2
    products = math.fsum((x - middle) * (y - middle) for x, y in zip(xs, ys, strict=True))
    spread = _spread(xs, middle) * _spread(ys, middle)
    return products / math.sqrt(spread) if spread else None


def _explained_by_groups(values: Sequence[Any], metrics: Sequence[float]) -> float:
    groups: dict[str, list[float]] = {}
    for value, rank in zip(values, metrics, strict=True):
        groups.setdefault(_level(value), []).append(rank)
    middle = (len(metrics) + 1) / 2
    between = math.fsum(len(group) * (math.fsum(group) / len(group) - middle) ** 2 for group in groups.values())
    return _adjusted(between / _spread(metrics, middle), len(groups), len(metrics))


def _adjusted(share: float, groups: int, count: int) -> float:
    """Return a share of variance without what as many groups explain by chance; 0 if each value has its own group."""
    if groups == 1 or count <= groups:
        return 0.0
    return min(1.0, max(0.0, 1 - (1 - share) * (count - 1) / (count - groups)))


def _spread(values: Iterable[float], middle: float) -> float:
    return math.fsum((value - middle) ** 2 for value in values)
