"""Distributions of numbers by their quantiles, for searches that move along them."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

# exp() of more than this overflows a float.
MAX_EXPONENT = 709.0
# Share of values at either end of a distribution without bounds that a search leaves out.
_TAIL = 1e-3


@dataclass(frozen=True)
class Shape:
    """A distribution of numbers, which can be searched along its quantiles.

    Attributes:
        draw: Draws a value with the given generator.
        quantile: The value below which a share (0 to 1) of all values are. Where values have no bound, those beyond
            all but one in a thousand at either end are left out.
        position: The share of all values that are below the given one: quantile's inverse. It may lie outside
            of 0 to 1 for a value that is no value of this distribution.
        count: How many values there are, all of equal share; None where that isn't so.
    """

    draw: Callable[[random.Random], float]
    quantile: Callable[[float], float]
    position: Callable[[float], float]
    count: int | None = None

    def map(self, to: Callable[[float], float], back: Callable[[float], float]) -> Shape:
        """The shape of `to(value)`; `to` never decreases, and `back` undoes it as far as that is possible."""
        return Shape(
            lambda rng: to(self.draw(rng)),
            lambda position: to(self.quantile(position)),
            lambda value: self.position(back(value)),
        )


def quantised(shape: Shape, q: float) -> Shape:
    """The nearest multiples of q, which is positive."""

    def rounded(value: float) -> float:
        steps = value / q
        # An integer q gives integers, as in W&B: round() of a float is one, and int * int stays one.
        # Beyond the largest float no multiple of q is nearer than the value itself.
        return round(steps) * q if math.isfinite(steps) else value

    return shape.map(rounded, lambda value: value)


def exponential(shape: Shape) -> Shape:
    """e to the power of the values, as far as floats go."""
    return shape.map(
        lambda value: math.exp(max(-MAX_EXPONENT, min(MAX_EXPONENT, value))),
        lambda value: math.log(value) if value > 0 else -math.inf,
    )


def uniform(low: float, high: float) -> Shape:
    """Evenly between two numbers, both included."""

    # Arithmetic may exceed a bound by rounding.
    def bounded(value: float) -> float:
        return min(max(value, float(low)), float(high))

    return Shape(
        lambda rng: bounded(rng.uniform(low, high)),
        lambda position: bounded(low + position * (high - low)),
        lambda value: (value - low) / (high - low) if high > low else 0.5,
    )


def integers(low: int, high: int) -> Shape:
    """Evenly over whole numbers, both ends included."""
    count = high - low + 1
    return Shape(
        lambda rng: rng.randint(low, high),
        lambda position: min(low + math.floor(position * count), high),
        # Every integer has an interval of positions; this is its middle.
        lambda value: (value - low + 0.5) / count,
        count,
    )


def normal(mu: float, sigma: float) -> Shape:
    """The normal distribution; a sigma of 0 leaves mu alone."""
    if sigma == 0:
        return Shape(lambda rng: rng.normalvariate(mu, sigma), lambda _: float(mu), lambda _: 0.5)
    exact = NormalDist(mu, sigma)
    return Shape(
        lambda rng: rng.normalvariate(mu, sigma),
        lambda position: exact.inv_cdf(min(max(position, _TAIL), 1 - _TAIL)),
        exact.cdf,
    )


def beta(a: float, b: float) -> Shape:
    """The beta distribution; its quantiles need SciPy, its draws do not."""

    def quantile(position: float) -> float:
        from scipy.special import betaincinv  # slow to import, and only there with the extra that needs it

        return float(betaincinv(a, b, position))

    def position(value: float) -> float:
        from scipy.special import betainc

        return float(betainc(a, b, min(max(value, 0.0), 1.0)))

    return Shape(lambda rng: rng.betavariate(a, b), quantile, position)
