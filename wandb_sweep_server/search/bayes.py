"""Bayesian search: its axes, its objectives, and what runs tell it. Light; what chooses trials is in suggest.py."""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from wandb_sweep_server.errors import ClientError

from .distributions import canonical
from .shapes import Shape
from .space import Dimension, build_args

# By number of the axis: from 0 to 1, or the index of a value.
Point: TypeAlias = tuple[float, ...]

_PACKAGES = ("optuna", "sklearn")
_MOST_VALUES = 2**31


@dataclass(frozen=True)
class Objective:
    """One metric. name: a key of the summary; dots may stand for nesting, as in W&B."""

    name: str
    is_maximized: bool

    def value(self, summary: Mapping[str, Any]) -> float | None:
        """The metric in a summary, None if it isn't there or isn't a finite number; to be minimised."""
        found: Any = summary.get(self.name)
        if found is None:
            found = summary
            for part in self.name.split("."):
                found = found.get(part) if isinstance(found, dict) else None
        if isinstance(found, bool) or not isinstance(found, int | float):
            return None
        try:
            value = float(found)
        except OverflowError:
            return None
        return (-value if self.is_maximized else value) if math.isfinite(value) else None


@dataclass(frozen=True)
class Seen:
    """A trial that was handed out.

    Attributes:
        point: Where it is in the search's space.
        values: Its objectives, all to be minimised; None if it has none (yet).
        is_running: It may still come to other values.
    """

    point: Point
    values: tuple[float, ...] | None
    is_running: bool


@dataclass(frozen=True)
class Axis:
    """One parameter as an optimiser moves along it.

    Attributes:
        dimension: The parameter.
        count: How many values it has, None where they are continuous.
        has_order: Neighbouring values are alike.
        value: From a coordinate (0 to 1 where continuous, else an index) to the parameter's value.
        coordinate: Back. Raises: ValueError if the value isn't one of this parameter's.
    """

    dimension: Dimension
    count: int | None
    has_order: bool
    value: Callable[[float], Any]
    coordinate: Callable[[Any], float]


class BayesSearch:
    """A search whose next trial depends on how earlier ones ended: it has none by index alone."""

    trial_count = None

    def __init__(self, dimensions: Sequence[Dimension], objectives: Sequence[Objective], seed: int) -> None:
        """Args: objectives: At least one. seed: Any integer.

        Raises:
            ClientError: Every parameter is constant.
        """
        self.objectives = tuple(objectives)
        self.seed = seed
        self._all = tuple(_axis(dimension) for dimension in dimensions)
        self.axes = tuple(axis for axis in self._all if axis.count != 1)
        if not self.axes:
            raise ClientError("method = 'bayes' needs a parameter with more than one value; or use method: grid")

    def args(self, index: int) -> None:
        """Nothing by index alone."""
        return

    def args_at(self, point: Point) -> dict[str, Any]:
        """The arguments of a trial, `{"lr": {"value": 0.1}}`."""
        coordinates = iter(point)
        return build_args(
            (axis.dimension, axis.value(0 if axis.count == 1 else next(coordinates))) for axis in self._all
        )

    def point_of(self, args: Mapping[str, Any]) -> Point | None:
        """Where a run with these arguments is; None if it is not in this space."""
        try:
            return tuple(axis.coordinate(_value_in(args, axis.dimension.path)) for axis in self.axes)
        except (KeyError, TypeError, ValueError, OverflowError):
            return None

    def values_in(self, summary: Mapping[str, Any]) -> tuple[float, ...] | None:
        """The objectives of a run, all to be minimised; None if one is missing."""
        values = [objective.value(summary) for objective in self.objectives]
        return None if None in values else tuple(value for value in values if value is not None)


def _value_in(args: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    value = args[path[0]]["value"]
    for part in path[1:]:
        value = value[part]
    return value


def _axis(dimension: Dimension) -> Axis:
    distribution = dimension.distribution
    if distribution.shape is None:
        return _listed(dimension, distribution.choices or ())
    shape = distribution.shape
    # Floats tell neighbouring integers apart up to there.
    if shape.count is None or shape.count > _MOST_VALUES:
        return Axis(dimension, None, True, shape.quantile, _position(shape, lambda position: position))
    count = shape.count
    to_index = _position(shape, lambda position: float(min(math.floor(position * count), count - 1)))
    return Axis(dimension, count, True, lambda index: shape.quantile((index + 0.5) / count), to_index)


def _position(shape: Shape, form: Callable[[float], float]) -> Callable[[Any], float]:
    def coordinate(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
            raise ValueError(f"{value!r} is no number")
        return form(min(max(shape.position(value), 0.0), 1.0))

    return coordinate


def _listed(dimension: Dimension, choices: tuple[Any, ...]) -> Axis:
    is_numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in choices)
    # Of two values each is the other's neighbour anyway.
    has_order = is_numeric and len(choices) > 2
    values = sorted(choices) if has_order else list(choices)
    index_of = {canonical(value): float(index) for index, value in enumerate(values)}

    def coordinate(value: Any) -> float:
        return index_of[canonical(value)]

    return Axis(dimension, len(values), has_order, lambda index: values[int(index)], coordinate)


@dataclass(frozen=True)
class Problem:
    """What is asked for: `count` trials of a sweep, the first of which is number `first`. seen: in their order."""

    search: BayesSearch
    seen: tuple[Seen, ...]
    first: int
    count: int


def read_objectives(config: Mapping[str, Any]) -> tuple[Objective, ...]:
    """The `metric` of a sweep configuration, or its `metrics`.

    The rules for `metrics` are those of W&B's schema, except that W&B has them for `method: custom` only.

    Raises:
        ClientError: Names the key, the value and the rule.
    """
    metric, metrics = config.get("metric"), config.get("metrics")
    if metrics is None:
        if metric is None:
            raise ClientError("method = 'bayes' needs a metric: {name: <key that runs log>, goal: minimize|maximize}")
        return (_objective("metric", metric),)
    if metric is not None:
        raise ClientError(f"metric = {metric!r} can't be used together with metrics; leave one of them out")
    if not isinstance(metrics, list) or len(metrics) < 2:
        raise ClientError(
            f"metrics = {metrics!r} must be a list of at least two {{name: …, goal: …}}; for one use metric"
        )
    objectives = tuple(_objective(f"metrics[{index}]", metric) for index, metric in enumerate(metrics))
    names = [objective.name for objective in objectives]
    for name in names:
        if names.count(name) > 1:
            raise ClientError(f"metrics: {name!r} is there {names.count(name)} times; name each metric once")
    return objectives


def _objective(key: str, metric: Any) -> Objective:
    name = metric.get("name") if isinstance(metric, dict) else None
    if not isinstance(name, str) or not name:
        raise ClientError(f"{key} = {metric!r} must have a name, the key that runs log")
    goal = metric.get("goal", "minimize")
    if goal not in ("minimize", "maximize"):
        raise ClientError(f"{key}.goal = {goal!r} must be minimize or maximize")
    return Objective(name, goal == "maximize")


def is_installed(package: str) -> bool:
    """Whether a package can be imported; without doing so, which would take seconds."""
    importlib.invalidate_caches()  # it may have been installed since the server looked last
    return importlib.util.find_spec(package) is not None


def require_packages(is_installed: Callable[[str], bool] = is_installed) -> None:
    """Raises: ClientError if the server's environment lacks what Bayesian search needs."""
    missing = [package for package in _PACKAGES if not is_installed(package)]
    if missing:
        raise ClientError(
            f"method = 'bayes' needs {' and '.join(missing)}, which the server's Python environment hasn't got: "
            "pip install 'hydra-wandb-sweeper[optuna]', or use method: random"
        )
