"""Early stopping: W&B's `early_terminate`, which ends runs that are too bad to go on. Pure.

W&B calls its rule hyperband (Li et al., arXiv:1603.06560). It is decided here as W&B's own engine does it (package
`sweeps`, sweeps.hyperband_stopping):

- The n-th finite number that a run logs of the metric is its value at iteration n.
- There are brackets at certain iterations. A bracket's threshold is, among the values that all runs had there, the
  one with a share of 1/eta of them before it, best first.
- A running run is stopped if it is worse than the threshold of the last bracket that it has reached: by its value
  there, or, without `strict`, even by the best value that it ever had.

Thresholds move with every run that reaches a bracket, so a run may be stopped long after it passed one.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from . import jsontext
from .errors import ClientError

_KEYS = ("eta", "max_iter", "min_iter", "s", "strict", "type")
# As many as W&B's engine has; only with an eta close to 1 they end within reach.
_MOST_BRACKETS = 100
# No run logs more values.
_UNREACHABLE = 2**53


@dataclass(frozen=True)
class Hyperband:
    """When to stop runs.

    Attributes:
        metric: The key of the history that counts; `a.b` also finds `{"a": {"b": …}}`.
        maximize: More is better.
        brackets: Iterations, ascending; at least one.
        share: Of the runs in a bracket, what part is at most as good as its threshold; between 0 and 1.
        strict: Compare a run's value at the bracket, not the best that it ever had.
    """

    metric: str
    maximize: bool
    brackets: tuple[int, ...]
    share: float
    strict: bool

    def threshold_position(self, count: int) -> int:
        """The index of the threshold among `count` losses in ascending order."""
        return int(self.share * count)

    def last_bracket(self, values: int) -> int:
        """The last bracket that a run with so many values has reached, 0 if none."""
        reached = bisect_right(self.brackets, values)
        return self.brackets[reached - 1] if reached else 0

    def loss(self, value: float) -> float:
        """A value such that less is better, and back again."""
        return -value if self.maximize else value


@dataclass(frozen=True)
class Standing:
    """How far a run has come.

    Attributes:
        step: W&B's step of the last line that told it, or None.
        values: Finite numbers of the metric so far.
        bracket: The last one reached, 0 if none.
        loss: What counts against thresholds: the best so far, or with `strict` that at the last bracket. None
            before there is any.
    """

    step: float | None = None
    values: int = 0
    bracket: int = 0
    loss: float | None = None


@dataclass(frozen=True)
class Track:
    """Where lines of history have led. losses: at the brackets that were reached on the way."""

    standing: Standing
    losses: Mapping[int, float]


@dataclass(frozen=True)
class Decision:
    """A run is to be stopped. value, threshold: of the metric, as the user knows it."""

    run_id: int
    bracket: int
    metric: str
    value: float
    threshold: float

    def __str__(self) -> str:
        sign = ">" if self.value > self.threshold else "<"
        return f"stopped early: bracket {self.bracket}, {self.metric} {self.value:.6g} {sign} {self.threshold:.6g}"


def retrace(rule: Hyperband, lines: Sequence[str]) -> Track:
    """Where all lines of a run's history lead.

    A step that is not above the one before it tells that the run began anew, or went on from an older state: what
    was logged from that step on has been done over.
    """
    kept: list[tuple[float, float]] = []
    step: float | None = None
    for text in lines:
        new_step, loss = _read(rule, text)
        step = step if new_step is None else new_step
        at = -math.inf if step is None else step
        while new_step is not None and kept and kept[-1][0] >= at:
            kept.pop()
        if loss is not None:
            kept.append((at, loss))
    return _count(rule, Standing(step), (loss for _, loss in kept))


def follow(rule: Hyperband, standing: Standing, lines: Sequence[str]) -> Track | None:
    """Where further lines lead; None if the run was begun anew in them, see `retrace`."""
    step = standing.step
    losses = []
    for text in lines:
        new_step, loss = _read(rule, text)
        if new_step is not None:
            if step is not None and new_step <= step:
                return None
            step = new_step
        if loss is not None:
            losses.append(loss)
    return _count(rule, replace(standing, step=step), losses)


def _count(rule: Hyperband, standing: Standing, losses: Iterable[float]) -> Track:
    values, bracket, counted = standing.values, standing.bracket, standing.loss
    reached: dict[int, float] = {}
    for loss in losses:
        values += 1
        if rule.last_bracket(values) == values:
            bracket = values
            reached[bracket] = loss
            counted = loss if rule.strict else counted
        if not rule.strict:
            counted = loss if counted is None else min(counted, loss)
    return Track(Standing(standing.step, values, bracket, counted), reached)


def _read(rule: Hyperband, text: str) -> tuple[float | None, float | None]:
    """The step and the loss in a line of history; None for what isn't there or is no finite number."""
    try:
        row = jsontext.loads(text)
    except ValueError:
        return None, None
    if not isinstance(row, dict):
        return None, None
    value = _number(jsontext.value_at(row, rule.metric))
    return _number(row.get("_step")), None if value is None else rule.loss(value)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def parse_early_terminate(config: Mapping[str, Any]) -> Hyperband | None:
    """Read the section `early_terminate` of a sweep configuration; None if there is none.

    Raises:
        ClientError: Names the key, the value and the rule.
    """
    section = config.get("early_terminate")
    if section is None:
        return None
    if not isinstance(section, dict):
        raise ClientError(f"early_terminate = {section!r} must be a mapping, as {{type: hyperband, min_iter: 3}}")
    given = {key: value for key, value in section.items() if value is not None}
    if given.get("type") != "hyperband":
        raise ClientError(f"early_terminate.type = {given.get('type')!r} does not exist; the only type is hyperband")
    if unknown := sorted(map(str, set(given) - set(_KEYS))):
        raise ClientError(f"early_terminate.{unknown[0]} does not exist; keys are {', '.join(_KEYS)}")
    eta = given.get("eta", 3)
    if isinstance(eta, bool) or not isinstance(eta, int | float) or not 1 < eta < math.inf:
        raise ClientError(f"early_terminate.eta = {eta!r} must be a number greater than 1")
    # W&B's documentation gives false as the default; its schema and its engine have true.
    strict = given.get("strict", True)
    if not isinstance(strict, bool):
        raise ClientError(f"early_terminate.strict = {strict!r} must be true or false")
    metric, maximize = _goal(config)
    return Hyperband(metric, maximize, _brackets(given, eta), 1.0 / eta, strict)


def _goal(config: Mapping[str, Any]) -> tuple[str, bool]:
    metric = config.get("metric")
    name = metric.get("name") if isinstance(metric, dict) else None
    if not isinstance(metric, dict) or not isinstance(name, str) or not name:
        raise ClientError(
            f"metric = {metric!r}: early_terminate needs metric.name, the metric that runs log again and again"
        )
    goal = metric.get("goal") or "minimize"
    if goal not in ("minimize", "maximize"):
        raise ClientError(f"metric.goal = {goal!r} must be minimize or maximize")
    return name, goal == "maximize"


def _brackets(given: dict[str, Any], eta: float) -> tuple[int, ...]:
    if ("min_iter" in given) == ("max_iter" in given):
        amount = "both" if "min_iter" in given else "none of them"
        raise ClientError(f"early_terminate needs either min_iter, or max_iter and s; it has {amount}")
    if "min_iter" in given:
        return _ascending(_iterations(given, "min_iter"), eta)
    if "s" not in given:
        raise ClientError("early_terminate.max_iter needs s, the number of brackets before it")
    max_iter, count = _iterations(given, "max_iter"), _iterations(given, "s")
    brackets = _descending(max_iter, count, eta)
    if not brackets:
        raise ClientError(
            f"early_terminate.max_iter = {max_iter} leaves no bracket: it must be at least eta, which is {eta}"
        )
    return brackets


def _iterations(given: dict[str, Any], key: str) -> int:
    value = given[key]
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < _UNREACHABLE:
        raise ClientError(f"early_terminate.{key} = {value!r} must be an integer of at least 1")
    return value


def _ascending(min_iter: int, eta: float) -> tuple[int, ...]:
    brackets = set()
    bracket: float = min_iter
    for _ in range(_MOST_BRACKETS):
        if bracket >= _UNREACHABLE:
            break
        brackets.add(int(bracket))
        bracket *= eta
    return tuple(sorted(brackets))


def _descending(max_iter: int, count: int, eta: float) -> tuple[int, ...]:
    brackets = set()
    bracket = max_iter / eta
    while bracket >= 1 and count:
        brackets.add(int(bracket))
        bracket, count = bracket / eta, count - 1
    return tuple(sorted(brackets))
