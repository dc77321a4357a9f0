"""W&B's parameter distributions: how each is drawn at random and, where discrete, enumerated.

Names, keys and meaning follow the sweep configuration reference of W&B; everything is drawn with the
standard library.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeGuard

from wandb_sweep_server.errors import ClientError

from .shapes import MAX_EXPONENT, Shape, beta, exponential, integers, normal, quantised, uniform


class Levels(Protocol):
    """The values of a discrete parameter, by index; never all of them at once."""

    @property
    def count(self) -> int:
        """How many there are."""

    def value(self, index: int) -> Any:
        """The one at `0 <= index < count`."""


@dataclass(frozen=True)
class Listed:
    """Values given one by one."""

    values: tuple[Any, ...]

    @property
    def count(self) -> int:
        return len(self.values)

    def value(self, index: int) -> Any:
        return self.values[index]


@dataclass(frozen=True)
class Stepped:
    """`first`, `first + step`, …; integers stay integers."""

    first: float
    step: float
    count: int

    def value(self, index: int) -> float:
        return self.first + index * self.step


@dataclass(frozen=True)
class Distribution:
    """One parameter's distribution.

    Attributes:
        name: W&B's name of the distribution.
        draw: Draws a value with the given generator.
        levels: The values a grid goes through, or None where a grid cannot.
        shape: Numbers by their quantiles, or None where values have to be searched one by one.
        choices: Different values to search one by one, or None.
        is_constant: There is nothing to search.
    """

    name: str
    draw: Callable[[random.Random], Any]
    levels: Levels | None = None
    shape: Shape | None = None
    choices: tuple[Any, ...] | None = None
    is_constant: bool = False


def parse_distribution(parameter: str, spec: Mapping[str, Any]) -> Distribution:
    """Read one parameter of a sweep configuration.

    Args:
        parameter: Its name, for messages.
        spec: Such as `{"min": 0.1, "max": 1.0}` or `{"values": [1, 2]}`.

    Raises:
        ClientError: Names the parameter, the value and the rule.
    """
    name = spec.get("distribution") or _implied(parameter, spec)
    kind = _KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ClientError(
            f"parameter {parameter!r}: distribution {name!r} does not exist; there are {', '.join(_KINDS)}"
        )
    reader = _Reader(parameter, name, spec)
    reader.allow_only({"distribution", *kind.required, *kind.optional})
    reader.need(kind.required)
    return kind.build(reader)


def _implied(parameter: str, spec: Mapping[str, Any]) -> str:
    if "probabilities" in spec:
        return "categorical_w_probabilities"
    if "values" in spec:
        return "categorical"
    if "value" in spec:
        return "constant"
    if "min" in spec and "max" in spec:
        return "int_uniform" if _is_int(spec["min"]) and _is_int(spec["max"]) else "uniform"
    raise ClientError(
        f"parameter {parameter!r}: {dict(spec)!r} says no distribution; "
        "give 'value', 'values', 'min' and 'max', or 'distribution'"
    )


def _is_finite(value: Any) -> TypeGuard[float]:
    """Whether the value is a number that a float can hold, as math.isfinite() says of floats only."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


@dataclass(frozen=True)
class _Reader:
    """Typed access to a parameter's keys, with errors that name what is wrong."""

    parameter: str
    distribution: str
    spec: Mapping[str, Any]

    def fail(self, problem: str) -> ClientError:
        return ClientError(f"parameter {self.parameter!r} ({self.distribution}): {problem}")

    def allow_only(self, allowed: set[str]) -> None:
        extra = sorted(str(key) for key in set(self.spec) - allowed)
        if extra:
            raise self.fail(f"key {extra[0]!r} is not allowed; allowed are {', '.join(sorted(allowed))}")

    def need(self, required: Sequence[str]) -> None:
        for key in required:
            if key not in self.spec:
                raise self.fail(f"{key!r} is missing")

    def number(self, key: str, default: float | None = None) -> float:
        value = self.spec.get(key, default)
        if not _is_finite(value):
            hint = " (YAML reads a number like 1e-3 as text; write 1.0e-3)" if isinstance(value, str) else ""
            raise self.fail(f"{key} = {value!r} must be a finite number{hint}")
        return value

    def integer(self, key: str) -> int:
        value = self.spec[key]
        if not _is_int(value):
            raise self.fail(f"{key} = {value!r} must be an integer")
        return int(value)

    def positive(self, key: str, default: float | None = None) -> float:
        value = self.number(key, default)
        if value <= 0:
            raise self.fail(f"{key} = {value!r} must be greater than 0")
        return value

    def values(self) -> tuple[Any, ...]:
        values = self.spec["values"]
        if not isinstance(values, list) or not values:
            raise self.fail(f"values = {values!r} must be a list of at least one value")
        return tuple(values)

    def bounds(self) -> tuple[float, float]:
        low, high = self.number("min"), self.number("max")
        if low > high:
            raise self.fail(f"min = {low!r} must not be greater than max = {high!r}")
        if not _is_finite(high - low):
            raise self.fail(f"max - min must be a finite number, not that of min = {low!r} and max = {high!r}")
        return low, high

    def exponents(self) -> tuple[float, float]:
        low, high = self.bounds()
        if max(abs(low), abs(high)) > MAX_EXPONENT:
            raise self.fail(
                f"min = {low!r} and max = {high!r} are exponents of e and must be within "
                f"±{MAX_EXPONENT:.0f}; to give the values themselves use {self.distribution}_values"
            )
        return low, high

    def log_bounds(self) -> tuple[float, float]:
        self.positive("min")
        low, high = self.bounds()
        return math.log(low), math.log(high)


def _normal(reader: _Reader) -> Shape:
    mu, sigma = reader.number("mu", 0.0), reader.number("sigma", 1.0)
    if sigma < 0:
        raise reader.fail(f"sigma = {sigma!r} must not be negative")
    return normal(mu, sigma)


def _beta(reader: _Reader) -> Shape:
    return beta(reader.positive("a", 1), reader.positive("b", 1))


def distinct(values: Sequence[Any]) -> tuple[Any, ...]:
    """The values without repetitions; 1, 1.0, true and "1" are four different ones."""
    first: dict[str, Any] = {}
    for value in values:
        first.setdefault(canonical(value), value)
    return tuple(first.values())


def canonical(value: Any) -> str:
    """A text that is the same for the same value only, of the same type."""
    # Twice: JSON makes texts of all keys, and only then they can be sorted.
    return json.dumps(json.loads(json.dumps(value)), sort_keys=True)


def _constant(reader: _Reader) -> Distribution:
    value = reader.spec["value"]
    return Distribution(reader.distribution, lambda _: value, Listed((value,)), choices=(value,), is_constant=True)


def _categorical(reader: _Reader) -> Distribution:
    values = reader.values()
    choices = distinct(values)
    return Distribution(reader.distribution, lambda rng: rng.choice(values), Listed(choices), choices=choices)


def _weighted(reader: _Reader) -> Distribution:
    values = reader.values()
    weights = reader.spec["probabilities"]
    is_list = isinstance(weights, list) and len(weights) == len(values)
    if not is_list or not all(_is_finite(w) and w >= 0 for w in weights) or not 0 < sum(weights) < math.inf:
        raise reader.fail(
            f"probabilities = {weights!r} must be one number >= 0 for each of the {len(values)} values, not all 0"
        )
    possible = distinct([value for value, weight in zip(values, weights, strict=True) if weight > 0])
    return Distribution(reader.distribution, lambda rng: rng.choices(values, weights)[0], choices=possible)


def _int_uniform(reader: _Reader) -> Distribution:
    low, high = reader.integer("min"), reader.integer("max")
    reader.bounds()
    shape = integers(low, high)
    return Distribution(reader.distribution, shape.draw, Stepped(low, 1, high - low + 1), shape)


def _q_uniform(reader: _Reader) -> Distribution:
    low, high = reader.bounds()
    q = reader.positive("q", 1)
    if not _is_finite((high - low) / q):
        raise reader.fail(f"q = {q!r} is too small for min = {low!r} and max = {high!r}")
    # As W&B enumerates it: from min in steps of q, max excluded.
    count = max(math.ceil((high - low) / q), 0)
    shape = quantised(uniform(low, high), q)
    return Distribution(reader.distribution, shape.draw, Stepped(low, q, count) if count else None, shape)


def _plain(make: Callable[[_Reader], Shape]) -> Callable[[_Reader], Distribution]:
    def build(reader: _Reader) -> Distribution:
        shape = make(reader)
        return Distribution(reader.distribution, shape.draw, shape=shape)

    return build


def _with_q(make: Callable[[_Reader], Shape]) -> Callable[[_Reader], Distribution]:
    return _plain(lambda reader: quantised(make(reader), reader.positive("q", 1)))


def _log_uniform(reader: _Reader) -> Shape:
    return exponential(uniform(*reader.exponents()))


def _log_uniform_values(reader: _Reader) -> Shape:
    low, high = reader.number("min"), reader.number("max")
    shape = exponential(uniform(*reader.log_bounds()))
    # exp(log(x)) may differ from x in the last digit.
    return shape.map(lambda value: min(max(value, float(low)), float(high)), lambda value: value)


def _inv_log_uniform(reader: _Reader) -> Shape:
    low, high = reader.exponents()
    return exponential(uniform(-high, -low))


@dataclass(frozen=True)
class _Kind:
    build: Callable[[_Reader], Distribution]
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()


_MIN_MAX = ("min", "max")
_KINDS: dict[str, _Kind] = {
    "constant": _Kind(_constant, ("value",)),
    "categorical": _Kind(_categorical, ("values",)),
    "categorical_w_probabilities": _Kind(_weighted, ("values", "probabilities")),
    "int_uniform": _Kind(_int_uniform, _MIN_MAX),
    "uniform": _Kind(_plain(lambda reader: uniform(*reader.bounds())), _MIN_MAX),
    "q_uniform": _Kind(_q_uniform, _MIN_MAX, ("q",)),
    "log_uniform": _Kind(_plain(_log_uniform), _MIN_MAX),
    "log_uniform_values": _Kind(_plain(_log_uniform_values), _MIN_MAX),
    "q_log_uniform": _Kind(_with_q(_log_uniform), _MIN_MAX, ("q",)),
    "q_log_uniform_values": _Kind(_with_q(_log_uniform_values), _MIN_MAX, ("q",)),
    "inv_log_uniform": _Kind(_plain(_inv_log_uniform), _MIN_MAX),
    # Given by values, the inverse of a log-uniform variable is a log-uniform one between them.
    "inv_log_uniform_values": _Kind(_plain(_log_uniform_values), _MIN_MAX),
    "normal": _Kind(_plain(_normal), (), ("mu", "sigma")),
    "q_normal": _Kind(_with_q(_normal), (), ("mu", "sigma", "q")),
    "log_normal": _Kind(_plain(lambda reader: exponential(_normal(reader))), (), ("mu", "sigma")),
    "q_log_normal": _Kind(_with_q(lambda reader: exponential(_normal(reader))), (), ("mu", "sigma", "q")),
    "beta": _Kind(_plain(_beta), (), ("a", "b")),
    "q_beta": _Kind(_with_q(_beta), (), ("a", "b", "q")),
}
