"""What Bayesian search tries next: pure, within bounds, apart from what runs, and better than by chance."""

from __future__ import annotations

import itertools
import json
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wandb_sweep_server.search.bayes import BayesSearch, Problem, Seen, read_objectives
from wandb_sweep_server.search.space import parse_parameters

pytest.importorskip("optuna", reason="comes with the extra [optuna]")
from wandb_sweep_server.search.suggest import MOST_OBSERVATIONS, MOST_RUNNING, suggest, worth_knowing

PLANE = {"x": {"min": 0.0, "max": 1.0}, "y": {"min": 0.0, "max": 1.0}}
MIXED = {
    "lr": {"distribution": "log_uniform_values", "min": 0.001, "max": 1.0},
    "n": {"min": 1, "max": 5},
    "kind": {"values": ["a", None, [1]]},
    "width": {"values": [16, 32, 64]},
    "rate": {"distribution": "q_uniform", "min": 0.0, "max": 1.0, "q": 0.1},
    "drop": {"distribution": "beta", "a": 2, "b": 5},
    "opt": {"parameters": {"m": {"distribution": "normal", "mu": 3, "sigma": 2}}},
}


def search(parameters: dict[str, Any], seed: int = 1, **keys: Any) -> BayesSearch:
    return BayesSearch(parse_parameters(parameters), read_objectives(keys or {"metric": {"name": "loss"}}), seed)


def ended(found: BayesSearch, args: dict[str, Any], *values: float) -> Seen:
    point = found.point_of(args)
    assert point is not None
    return Seen(point, values or None, is_running=False)


def running(found: BayesSearch, args: dict[str, Any]) -> Seen:
    point = found.point_of(args)
    assert point is not None
    return Seen(point, None, is_running=True)


def history(found: BayesSearch, loss: Callable[[dict[str, Any]], float], trials: int) -> list[Seen]:
    """A sweep by one agent."""
    seen: list[Seen] = []
    for number in range(trials):
        (args,) = suggest(Problem(found, tuple(seen), number, 1))
        seen.append(ended(found, args, loss(args)))
    return seen


def bowl(args: dict[str, Any]) -> float:
    return float((args["x"]["value"] - 0.3) ** 2 + (args["y"]["value"] - 0.7) ** 2)


def test_it_finds_the_bottom_of_a_bowl_that_chance_would_not_find() -> None:
    found = search(PLANE)
    best = min(seen.values or (9,) for seen in history(found, bowl, 25))
    assert best[0] < 1e-3  # by chance: 8 % of all sweeps of 25 trials


@pytest.mark.parametrize("scale", [1e-30, 1e200])
def test_the_unit_of_the_metric_does_not_matter(scale: float) -> None:
    found = search(PLANE)
    best = min(seen.values or (9,) for seen in history(found, lambda args: scale * bowl(args), 15))
    assert best[0] < scale * 1e-2


def test_it_climbs_where_the_goal_is_to_maximize() -> None:
    found = search(PLANE, metric={"name": "loss", "goal": "maximize"})
    # Objectives come from summaries turned round.
    best = min(seen.values or (9,) for seen in history(found, lambda args: -(1 - bowl(args)), 15))
    assert best[0] < -0.99


def test_the_same_problem_has_the_same_answer_and_another_seed_another_one() -> None:
    found = search(MIXED)
    seen = tuple(history(found, lambda args: args["lr"]["value"], 12))
    for first in (0, 12):
        problem = Problem(found, seen[:first], first, 2)
        assert suggest(problem) == suggest(problem)
        other = Problem(search(MIXED, seed=2), seen[:first], first, 2)
        assert suggest(problem) != suggest(other)


@pytest.mark.parametrize("seed", [-5, 0, 2**31 - 1, 2**70])
def test_every_integer_is_a_seed(seed: int) -> None:
    found = search(PLANE, seed=seed)
    history(found, bowl, 10)


@pytest.mark.parametrize("keys", [{}, {"metrics": [{"name": "loss"}, {"name": "acc", "goal": "maximize"}]}])
def test_trials_that_run_and_trials_chosen_together_are_all_different(keys: dict[str, Any]) -> None:
    found = search(PLANE, **keys)
    values = (1.0,) * len(found.objectives)
    seen: list[Seen] = []
    for _ in range(3):
        chosen = suggest(Problem(found, tuple(seen), len(seen), 8))
        assert len(chosen) == 8
        seen += [running(found, args) for args in chosen]
    assert len({item.point for item in seen}) == 24
    done = [Seen(item.point, values, is_running=False) for item in seen[:16]]
    chosen = suggest(Problem(found, (*done, *seen[16:]), 24, 8))
    points = [found.point_of(args) for args in chosen]
    assert len({*points, *(item.point for item in seen)}) == 32


def test_trials_chosen_together_keep_apart_where_the_model_sees_the_best() -> None:
    found = search(PLANE)
    seen = history(found, bowl, 8)  # a few more, and it knows the bottom so well that all go there
    points = [found.point_of(args) or () for args in suggest(Problem(found, tuple(seen), 8, 6))]
    assert all(
        max(abs(a - b) for a, b in zip(p, q, strict=True)) > 1e-2 for p, q in itertools.combinations(points, 2)
    )


def test_a_small_discrete_space_is_gone_through_before_anything_is_repeated() -> None:
    found = search({"a": {"min": 1, "max": 4}, "b": {"values": ["u", "v", "w"]}})
    seen: list[Seen] = []
    for number in range(12):
        (args,) = suggest(Problem(found, tuple(seen), number, 1))
        seen.append(ended(found, args, float(args["a"]["value"])))
    beyond_the_spread = {item.point for item in seen[8:]}
    assert len(beyond_the_spread) == 4
    assert not beyond_the_spread & {item.point for item in seen[:8]}
    for number in range(12, 20):  # all but those that the spread left out are known; then some again
        (args,) = suggest(Problem(found, tuple(seen), number, 1))
        seen.append(ended(found, args, float(args["a"]["value"])))
    assert len({item.point for item in seen}) == 12


OUTCOMES = st.one_of(
    st.none(), st.floats(allow_nan=False, allow_infinity=False), st.sampled_from([0.0, 1e308, -1e308, 5e-324])
)


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.tuples(OUTCOMES, st.booleans()), max_size=25), st.integers(0, 2**40), st.integers(1, 3), st.booleans()
)
def test_whatever_runs_report_suggestions_are_values_of_the_space(
    outcomes: list[tuple[float | None, bool]], seed: int, count: int, has_two: bool
) -> None:
    found = search(MIXED, seed=seed, **({"metrics": [{"name": "a"}, {"name": "b"}]} if has_two else {}))
    points = [found.point_of(args) for args in suggest(Problem(found, (), 0, max(len(outcomes), 1)))]
    seen = tuple(
        Seen(point or (), None if value is None or runs else (value,) * len(found.objectives), is_running=runs)
        for point, (value, runs) in zip(points, outcomes, strict=False)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # overflow and the like
        chosen = suggest(Problem(found, seen, len(seen), count))
    assert len(chosen) == count
    for args in json.loads(json.dumps(chosen, allow_nan=False)):
        values = {name: item["value"] for name, item in args.items()}
        assert list(values) == list(MIXED)
        assert 0.001 <= values["lr"] <= 1
        assert values["n"] in range(1, 6)
        assert type(values["n"]) is int
        assert values["kind"] in ("a", None, [1])
        assert values["width"] in (16, 32, 64)
        assert 0 <= values["rate"] <= 1
        assert values["rate"] * 10 == pytest.approx(round(values["rate"] * 10))
        assert 0 <= values["drop"] <= 1
        assert -4 <= values["opt"]["m"] <= 10


def test_runs_without_values_count_as_the_worst() -> None:
    """The left half fails: what is chosen after a while is on the right, where nothing is better either."""
    found = search({"x": {"min": 0.0, "max": 1.0}})
    seen: list[Seen] = []
    for number in range(20):
        (args,) = suggest(Problem(found, tuple(seen), number, 1))
        x = args["x"]["value"]
        seen.append(ended(found, args, *(() if x < 0.5 else (1 + (x - 0.9) ** 2,))))
    assert all(item.point[0] > 0.5 for item in seen[12:])
    assert min(abs(item.point[0] - 0.9) for item in seen) < 0.01


def test_a_sweep_in_which_nothing_has_finished_goes_on_to_spread() -> None:
    found = search(PLANE)
    failed = tuple(ended(found, args) for args in suggest(Problem(found, (), 0, 12)))
    (args,) = suggest(Problem(found, failed, 12, 1))
    assert found.point_of(args) not in {item.point for item in failed}


def test_of_a_long_sweep_the_best_and_the_latest_trials_are_known_and_the_rest_costs_nothing() -> None:
    found = search(PLANE)
    some = suggest(Problem(found, (), 0, 16))
    many = [ended(found, some[i % 16], 1000.0 + i) for i in range(10_000)]
    best = ended(found, some[0], 1.0)
    latest = [ended(found, some[3], 500.0 + i) for i in range(MOST_OBSERVATIONS // 2)]
    others = [running(found, some[5])] * (10 * MOST_RUNNING)
    whole = suggest(Problem(found, (*many[:5000], best, *many[5000:], *others, *latest), 12_101, 1))
    kept = [best, *many[: MOST_OBSERVATIONS // 2 - 1]]
    assert whole == suggest(Problem(found, (*kept, *latest, *others[:MOST_RUNNING]), 12_101, 1))


@pytest.mark.parametrize("turn", [1, -1])
def test_of_many_trials_with_two_metrics_both_ends_of_the_front_and_its_middle_are_known(turn: int) -> None:
    front = [(float(i), float(300 - i)) for i in range(301)][::turn]
    dominated = [(500.0 + i, 500.0 + i) for i in range(1000)]
    knee = (20.0, 20.0)
    latest = [(9e9, 9e9)] * (MOST_OBSERVATIONS // 2)
    known = [values for _, values in worth_knowing([((0.0,), v) for v in (*dominated, *front, knee, *latest)])]
    assert len(known) == MOST_OBSERVATIONS
    assert known[-len(latest) :] == latest
    best = set(known[: -len(latest)])
    assert {(0.0, 300.0), (300.0, 0.0), knee} <= best
    for end in (0, 1):
        assert sum(values[end] < 40 for values in best) >= MOST_OBSERVATIONS // 2 // 3 - 1
    assert not best & set(dominated)


def test_of_trials_that_are_equal_by_one_metric_those_are_known_that_are_better_by_the_other() -> None:
    tied = [((0.0,), (1.0, 1000.0 - i)) for i in range(500)]
    latest = [((0.0,), (2e3, 2e3))] * (MOST_OBSERVATIONS // 2)
    kept = tied[::-1][: MOST_OBSERVATIONS // 2]
    assert worth_knowing([*tied, *latest]) == [*kept, *latest]
