"""A sampler for Optuna that models the objective by a Gaussian process; imported only where a search needs it.

Optuna has one too, but it needs PyTorch. What is measured of this one is in docs/searching.md.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from scipy.spatial.distance import cdist
from scipy.special import ndtr
from scipy.stats import qmc
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Kernel, Matern, WhiteKernel
from sklearn.preprocessing import PowerTransformer

Array: TypeAlias = npt.NDArray[np.float64]

# Trials chosen to spread over the space before the model is asked.
_SPREAD_TRIALS = 8
# One length scale for all parameters until there are so many observations for each: more than that can't be told
# from a few trials, and a wrong guess blinds the search to a parameter.
_OBSERVATIONS_PER_LENGTH_SCALE = 5
_CANDIDATES = 1000
_REFINEMENTS = 6
_SAME = 1e-9


class GaussianProcessSampler(BaseSampler):
    """Chooses the trial with the largest expected improvement; for one objective, to be minimised.

    Trials that are running count as if they had ended with what the model expects of them ("kriging believer"), so
    that those chosen meanwhile keep away from them. The choice depends on the study and the two numbers below alone.
    """

    def __init__(self, space: Mapping[str, BaseDistribution], seed: int, first: int) -> None:
        """Args: space: By parameter. seed: From 0 to 2**32 - 1. first: The first trial's number in its sweep."""
        self._cube = _Cube(space)
        self._seed = seed
        self._next = first
        # The model's parameters by the number of trials with values: several choices share what they have learnt.
        self._learnt: tuple[int, Kernel] | None = None
        self._random = RandomSampler(seed)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The whole space."""
        return dict(self._cube.space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A parameter that isn't of the space; at random."""
        return self._random.sample_independent(study, trial, param_name, param_distribution)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The next trial, by parameter."""
        number, self._next = self._next, self._next + 1
        trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.RUNNING))
        done = [t for t in trials if t.state is TrialState.COMPLETE]
        if number < _SPREAD_TRIALS or len(done) < 2:
            return self._cube.params(self._spread(number))
        running = [t for t in trials if t.state is TrialState.RUNNING and t.number != trial.number]
        with warnings.catch_warnings():
            # scikit-learn warns whenever a length scale reaches its bound, which is what bounds are for.
            warnings.simplefilter("ignore")
            return self._cube.params(self._improve(done, running, np.random.default_rng((self._seed, number))))

    def _spread(self, number: int) -> Array:
        """Point `number` of a sequence that fills the space evenly."""
        sequence = qmc.Sobol(self._cube.size, seed=np.random.default_rng(self._seed))
        point: Array = sequence.fast_forward(number).random(1)[0] if number else sequence.random(1)[0]
        return point

    def _improve(self, done: list[FrozenTrial], running: list[FrozenTrial], rng: np.random.Generator) -> Array:
        cube = self._cube
        points = np.array([cube.point(trial.params) for trial in [*done, *running]])
        known = cube.features(points)
        values = _levelled(np.array([trial.value for trial in done], dtype=float))
        if self._learnt is None or self._learnt[0] != len(done):
            self._learnt = (len(done), _learn(known[: len(done)], values))
        model = _condition(self._learnt[1], known[: len(done)], values)
        if running:
            believed = np.concatenate([values, model.predict(known[len(done) :])])
            model = _condition(self._learnt[1], known, believed)
        expected = model.predict(known)

        def gain(candidates: Array) -> Array:
            features = cube.features(candidates)
            mean, deviation = model.predict(features, return_std=True)
            gains = _log_expected_improvement(expected.min(), mean, np.maximum(deviation, 1e-9))
            # To run a trial again tells less than any other one.
            is_known = cdist(features, known, "chebyshev").min(axis=1) < _SAME
            return np.where(is_known, -np.inf, gains)

        best = points[np.argsort(expected)[:5]]
        return _climb(gain, cube, best, rng)


def _climb(gain: Any, cube: _Cube, best: Array, rng: np.random.Generator) -> Array:
    """The candidate with the largest gain: from all over the space and from around the best points, then nearer."""
    around = best[rng.integers(len(best), size=_CANDIDATES // 2)]
    scales = rng.choice([0.1, 0.03, 0.01], size=(len(around), 1))
    candidates = np.vstack([cube.snap(rng.random((_CANDIDATES, cube.size))), cube.moved(around, scales, rng)])
    gains = gain(candidates)
    for round_ in range(_REFINEMENTS):
        top = np.argsort(-gains, kind="stable")[:8]
        moved = cube.moved(np.repeat(candidates[top], 25, axis=0), 0.1 * 0.5**round_, rng)
        candidates, gains = np.vstack([candidates[top], moved]), np.concatenate([gains[top], gain(moved)])
    chosen: Array = candidates[np.argmax(gains)]
    return chosen


def _levelled(values: Array) -> Array:
    """Values with mean 0 and deviation 1, made as normal as they can be without changing their order."""
    # Large numbers overflow when squared, and a few that are far off would hide the differences between the others.
    scaled = values / max(float(np.abs(values).max()), 1.0)
    deviation = scaled.std()
    if deviation <= 1e-12 * np.abs(scaled).max():
        return np.zeros_like(values)
    normal: Array = PowerTransformer().fit_transform(((scaled - scaled.mean()) / deviation)[:, None])[:, 0]
    return normal if np.isfinite(normal).all() else (scaled - scaled.mean()) / deviation


def _learn(features: Array, values: Array) -> Kernel:
    width = features.shape[1]
    has_many = len(values) >= _OBSERVATIONS_PER_LENGTH_SCALE * width
    length_scale = np.full(width, 0.5) if has_many else 0.5
    kernel = ConstantKernel(1.0, (0.05, 20.0)) * Matern(length_scale, (0.05, 20.0), nu=2.5)
    noisy = kernel + WhiteKernel(1e-2, (1e-6, 1.0))
    learnt: Kernel = GaussianProcessRegressor(noisy, alpha=1e-8).fit(features, values).kernel_
    return learnt


def _condition(learnt: Kernel, features: Array, values: Array) -> GaussianProcessRegressor:
    """The objective without its noise, whose size counts for the observations only."""
    noise = learnt.k2.noise_level
    return GaussianProcessRegressor(learnt.k1, alpha=noise + 1e-8, optimizer=None).fit(features, values)


def _log_expected_improvement(best: float, mean: Array, deviation: Array) -> Array:
    z = (best - mean) / deviation
    # Far from any improvement the exact form underflows; the other one is its limit.
    near, far = np.maximum(z, -25.0), np.minimum(z, -25.0)
    exact = np.log(np.exp(-0.5 * near**2) / np.sqrt(2 * np.pi) + near * ndtr(near))
    limit = -0.5 * far**2 - 0.5 * np.log(2 * np.pi) - 2 * np.log(-far)
    logarithm: Array = np.where(z > -25.0, exact, limit) + np.log(deviation)
    return logarithm


class _Cube:
    """A search space as a unit cube with a coordinate per parameter, and as features that distances make sense of."""

    def __init__(self, space: Mapping[str, BaseDistribution]) -> None:
        self.space = dict(space)
        self.size = len(self.space)
        # Number of values of each parameter, 0 for a continuous one.
        self._counts = np.array([_count(distribution) for distribution in self.space.values()])
        self._is_choice = np.array([isinstance(d, CategoricalDistribution) for d in self.space.values()])

    def snap(self, points: Array) -> Array:
        """Coordinates of discrete parameters moved to the middle of their value's interval."""
        counts = np.maximum(self._counts, 1)
        middles = (np.minimum(np.floor(points * counts), counts - 1) + 0.5) / counts
        return np.where(self._counts > 0, middles, points)

    def moved(self, points: Array, scale: Any, rng: np.random.Generator) -> Array:
        """Points moved at random: numbers by about `scale`, about half of them at a time, choices now and then."""
        shape = points.shape
        is_moved = rng.random(shape) < max(0.5, 1 / self.size)
        # A step of less than a value's interval would never leave it.
        steps = np.maximum(scale, np.where(self._counts > 0, 1 / np.maximum(self._counts, 1), 0.0))
        near = np.clip(points + rng.normal(size=shape) * steps * is_moved, 0.0, 1.0)
        other = np.where(rng.random(shape) < 1 / (1 + self.size), rng.random(shape), points)
        return self.snap(np.where(self._is_choice, other, near))

    def features(self, points: Array) -> Array:
        """One column per number, one per value of a choice; two different choices are at distance 1."""
        columns = []
        for index, column in enumerate(points.T):
            if self._is_choice[index]:
                chosen = np.floor(column * self._counts[index])[:, None]
                columns.append((chosen == np.arange(self._counts[index])) / np.sqrt(2.0))
            else:
                columns.append(column[:, None])
        return np.hstack(columns)

    def point(self, params: Mapping[str, Any]) -> Array:
        """The coordinates of a trial."""
        return np.array([_coordinate(d, params[name]) for name, d in self.space.items()])

    def params(self, point: Array) -> dict[str, Any]:
        """The trial at a point."""
        return {name: _value(d, float(x)) for (name, d), x in zip(self.space.items(), point, strict=True)}


def _count(distribution: BaseDistribution) -> int:
    if isinstance(distribution, CategoricalDistribution):
        return len(distribution.choices)
    return distribution.high - distribution.low + 1 if isinstance(distribution, IntDistribution) else 0


def _coordinate(distribution: BaseDistribution, value: Any) -> float:
    if isinstance(distribution, FloatDistribution):
        return float((value - distribution.low) / (distribution.high - distribution.low))
    return (distribution.to_internal_repr(value) - getattr(distribution, "low", 0) + 0.5) / _count(distribution)


def _value(distribution: BaseDistribution, coordinate: float) -> Any:
    if isinstance(distribution, FloatDistribution):
        return distribution.low + coordinate * (distribution.high - distribution.low)
    count = _count(distribution)
    index = min(int(coordinate * count), count - 1)
    return distribution.to_external_repr(float(index + getattr(distribution, "low", 0)))
