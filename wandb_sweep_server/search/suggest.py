"""What Bayesian search tries next, by Optuna. Pure; importing it takes seconds, so it is imported where it is needed.

One objective is modelled by a Gaussian process (see gaussian_process.py for why not by Optuna's own samplers),
several are left to Optuna's tree-structured Parzen estimators.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import TrialState
from threadpoolctl import threadpool_limits

from .bayes import Axis, Point, Problem, Seen
from .gaussian_process import GaussianProcessSampler

# A model takes time by the cube of what it knows. Beyond this it knows the best ones and the latest ones.
MOST_OBSERVATIONS = 200
MOST_RUNNING = 200

optuna.logging.set_verbosity(optuna.logging.WARNING)


def suggest(problem: Problem) -> list[dict[str, Any]]:
    """Return the arguments of the trials that are asked for. The same problem has the same answer."""
    space = {str(number): _distribution(axis) for number, axis in enumerate(problem.search.axes)}
    objectives = len(problem.search.objectives)
    study = optuna.create_study(directions=["minimize"] * objectives, sampler=_sampler(problem, space))
    study.add_trials(_trials(problem, space))
    # The matrices are small: more threads would only take the cores from whoever else is on this machine.
    with threadpool_limits(1):
        asked = [study.ask(space) for _ in range(problem.count)]
    return [problem.search.args_at(tuple(float(trial.params[name]) for name in space)) for trial in asked]


def _distribution(axis: Axis) -> BaseDistribution:
    if axis.count is None:
        return FloatDistribution(0.0, 1.0)
    return IntDistribution(0, axis.count - 1) if axis.has_order else CategoricalDistribution(range(axis.count))


def _sampler(problem: Problem, space: dict[str, BaseDistribution]) -> BaseSampler:
    seed = problem.search.seed % 2**32  # NumPy's generators take no others
    if len(problem.search.objectives) == 1:
        return GaussianProcessSampler(space, seed, problem.first)
    return TPESampler(multivariate=True, constant_liar=True, seed=(seed * 1_000_003 + problem.first) % 2**32)


def _trials(problem: Problem, space: dict[str, BaseDistribution]) -> Iterable[optuna.trial.FrozenTrial]:
    ended = [seen for seen in problem.seen if not seen.is_running]
    running = [seen for seen in problem.seen if seen.is_running][-MOST_RUNNING:]
    for point, values in worth_knowing(_completed(ended)):
        yield _trial(point, space, TrialState.COMPLETE, list(values))
    for seen in running:
        yield _trial(seen.point, space, TrialState.RUNNING, None)


def _trial(
    point: Point, space: dict[str, BaseDistribution], state: TrialState, values: list[float] | None
) -> optuna.trial.FrozenTrial:
    params = {
        name: x if isinstance(distribution, FloatDistribution) else int(x)
        for (name, distribution), x in zip(space.items(), point, strict=True)
    }
    return optuna.trial.create_trial(state=state, params=params, distributions=space, values=values)


def _completed(ended: list[Seen]) -> list[tuple[Point, tuple[float, ...]]]:
    """Trials with values; those that have none get the worst that were seen, as W&B's own search has it."""
    known = [seen.values for seen in ended if seen.values is not None]
    if not known:
        return []
    worst = tuple(max(column) for column in zip(*known, strict=True))
    return [(seen.point, worst if seen.values is None else seen.values) for seen in ended]


def worth_knowing(trials: list[tuple[Point, tuple[float, ...]]]) -> list[tuple[Point, tuple[float, ...]]]:
    """The trials that a model is made of: all, or the latest and the best of the others. Values are minimised."""
    if len(trials) <= MOST_OBSERVATIONS:
        return trials
    half = MOST_OBSERVATIONS // 2
    earlier, latest = trials[:-half], trials[-half:]
    return [*(earlier[index] for index in _best([values for _, values in earlier], half)), *latest]


def _best(values: list[tuple[float, ...]], count: int) -> list[int]:
    """Which trials are the best: in turn the next one by each objective and by all of them together.

    A fair share keeps both ends of the Pareto front and its middle; to tell who is on the front takes time by the
    square of the trials. All together is the sum of ranks, since objectives have units of their own.
    """
    ranks = list(zip(*(_ranks(column) for column in zip(*values, strict=True)), strict=True))
    total = [sum(row) for row in ranks]
    everyone = range(len(values))
    # Of equals by one objective the one that is better by the others.
    orders = [sorted(everyone, key=lambda i, n=n: (ranks[i][n], total[i])) for n in range(len(ranks[0]))]  # type: ignore[misc]
    orders.append(sorted(everyone, key=lambda i: total[i]))
    in_turn = itertools.chain.from_iterable(zip(*orders, strict=True))
    return list(dict.fromkeys(itertools.islice(in_turn, count * len(orders))))[:count]


def _ranks(column: tuple[float, ...]) -> list[int]:
    """From the least value on; equal values share a rank."""
    rank_of = {value: rank for rank, value in enumerate(sorted(set(column)))}
    return [rank_of[value] for value in column]
