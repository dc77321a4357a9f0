"""How fast the embedded server's `method: bayes` finds optima, compared with W&B's own search.

W&B's is the PyPI package `sweeps`, which needs NumPy 1 and gets an environment of its own. Both search the same
standard functions (Branin, Hartmann-6, and Ackley-5 with noise) with 8 agents in parallel: 8 trials are under way at
each time, they take differently long, and each method sees only those that have ended. The n-th trial of a seed takes
equally long, and its noise is the same, for every method. Random search and Optuna's tree-structured Parzen estimator
are there for comparison.

Regret is what the trial that looks best so far really is above the optimum, without noise. Of each function and
method the median over seeds is shown after 25, 50 and 100 trials; a seed is won by whoever has the smaller regret,
and the share of seeds that `bayes` wins comes with its 95 % interval (Wilson's).

    python benchmarks/bayes.py                # 5 seeds: some three minutes on an idle core
    python benchmarks/bayes.py --repeat 20    # 20 seeds, as for docs/searching.md
    python benchmarks/bayes.py --quick        # one short sweep of each, without W&B's
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import os
import random
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import results
from scratch import scratch

REPO = Path(__file__).resolve().parent.parent
REFERENCE_PACKAGES = ("sweeps==0.3.0", "numpy==1.26.4")
AGENTS = 8
CHECKPOINTS = (25, 50, 100)

Config = dict[str, float]
# The configurations and values of trials that have ended, and the configurations of those that run -> the next one.
Ask = Callable[[Sequence[tuple[Config, float]], Sequence[Config]], Config]


@dataclass(frozen=True)
class Function:
    """A function to minimise. bounds: of each parameter. noise: standard deviation of what is added to a value."""

    evaluate: Callable[[Sequence[float]], float]
    bounds: tuple[tuple[float, float], ...]
    optimum: float
    noise: float = 0.0

    @property
    def parameters(self) -> dict[str, Any]:
        """The search space as of a sweep."""
        return {
            f"x{i}": {"distribution": "uniform", "min": low, "max": high} for i, (low, high) in enumerate(self.bounds)
        }


def branin(x: Sequence[float]) -> float:
    bend = x[1] - 5.1 / (4 * math.pi**2) * x[0] ** 2 + 5 / math.pi * x[0] - 6
    return bend**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x[0]) + 10


HARTMANN = (  # weight, exponents, centre in 1e-4
    (1.0, (10, 3, 17, 3.5, 1.7, 8), (1312, 1696, 5569, 124, 8283, 5886)),
    (1.2, (0.05, 10, 17, 0.1, 8, 14), (2329, 4135, 8307, 3736, 1004, 9991)),
    (3.0, (3, 3.5, 1.7, 10, 17, 8), (2348, 1451, 3522, 2883, 3047, 6650)),
    (3.2, (17, 8, 0.05, 10, 0.1, 14), (4047, 8828, 8732, 5743, 1091, 381)),
)


def hartmann(x: Sequence[float]) -> float:
    return -sum(
        weight * math.exp(-sum(a * (v - 1e-4 * c) ** 2 for a, v, c in zip(exponents, x, centre, strict=True)))
        for weight, exponents, centre in HARTMANN
    )


def ackley(x: Sequence[float]) -> float:
    spread = math.sqrt(sum(v * v for v in x) / len(x))
    waves = sum(math.cos(2 * math.pi * v) for v in x) / len(x)
    return -20 * math.exp(-0.2 * spread) - math.exp(waves) + 20 + math.e


FUNCTIONS = {
    "Branin": Function(branin, ((-5.0, 10.0), (0.0, 15.0)), 0.397887),
    "Hartmann-6": Function(hartmann, ((0.0, 1.0),) * 6, -3.32237),
    # Not symmetric: its optimum isn't where a search may happen to begin.
    "Ackley-5 with noise": Function(ackley, ((-5.0, 10.0),) * 5, 0.0, noise=0.5),
}


# --- methods ---


def ask_bayes(function: Function, seed: int) -> Ask:
    """This project's, as the server asks it."""
    from wandb_sweep_server.search.bayes import BayesSearch, Problem, Seen
    from wandb_sweep_server.search.suggest import suggest
    from wandb_sweep_server.sweep_config import parse_sweep_config

    config = {"method": "bayes", "metric": {"name": "y"}, "parameters": function.parameters}
    search = parse_sweep_config(json.dumps(config), seed).search
    assert isinstance(search, BayesSearch)

    def seen(values: Config, y: float | None) -> Seen:
        point = search.point_of({name: {"value": value} for name, value in values.items()})
        assert point is not None
        return Seen(point, None if y is None else (y,), is_running=y is None)

    def ask(ended: Sequence[tuple[Config, float]], running: Sequence[Config]) -> Config:
        known = (*(seen(values, y) for values, y in ended), *(seen(values, None) for values in running))
        (args,) = suggest(Problem(search, known, len(known), 1))
        return {name: item["value"] for name, item in args.items()}

    return ask


def ask_reference(function: Function, seed: int) -> Ask:
    """W&B's."""
    import numpy
    import sweeps

    numpy.random.seed(seed)
    config = {"method": "bayes", "metric": {"name": "y", "goal": "minimize"}, "parameters": function.parameters}

    def run(values: Config, state: str, **summary: float) -> Any:
        wrapped = {name: {"value": value} for name, value in values.items()}
        return sweeps.SweepRun(config=wrapped, state=state, summary_metrics=summary)

    def ask(ended: Sequence[tuple[Config, float]], running: Sequence[Config]) -> Config:
        runs = [run(values, "finished", y=y) for values, y in ended] + [run(values, "running") for values in running]
        return {name: float(item["value"]) for name, item in sweeps.next_run(config, runs).config.items()}

    return ask


def ask_tpe(function: Function, seed: int) -> Ask:
    """Optuna's tree-structured Parzen estimator with the settings that its documentation has for parallel trials."""
    import optuna
    from optuna.trial import TrialState, create_trial

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = {name: optuna.distributions.FloatDistribution(*bounds) for name, bounds in named_bounds(function)}
    sampler = optuna.samplers.TPESampler(multivariate=True, group=True, constant_liar=True, seed=seed)

    def ask(ended: Sequence[tuple[Config, float]], running: Sequence[Config]) -> Config:
        study = optuna.create_study(sampler=sampler)
        for values, y in ended:
            study.add_trial(create_trial(params=values, distributions=space, value=y))
        for values in running:
            study.add_trial(create_trial(params=values, distributions=space, state=TrialState.RUNNING))
        return dict(study.ask(space).params)

    return ask


def ask_random(function: Function, seed: int) -> Ask:
    rng = random.Random(seed)
    return lambda ended, running: {name: rng.uniform(low, high) for name, (low, high) in named_bounds(function)}


def named_bounds(function: Function) -> Iterator[tuple[str, tuple[float, float]]]:
    return ((f"x{i}", bounds) for i, bounds in enumerate(function.bounds))


METHODS: dict[str, Callable[[Function, int], Ask]] = {
    "bayes": ask_bayes,
    "sweeps": ask_reference,
    "Optuna's TPE": ask_tpe,
    "random": ask_random,
}


# --- agents ---


@dataclass
class Course:
    """One sweep. regret: after each ended trial. asking_s: all the time it took to choose trials."""

    function: str
    method: str
    seed: int
    regret: list[float] = field(default_factory=list)
    asking_s: float = 0.0


def sweep(name: str, method: str, seed: int, trials: int) -> Course:
    """AGENTS agents run a sweep of so many trials."""
    function, course = FUNCTIONS[name], Course(name, method, seed)
    ask = METHODS[method](function, seed)
    running: dict[int, Config] = {}
    ends: list[tuple[float, int]] = []
    ended: list[tuple[Config, float]] = []
    best, now = (math.inf, math.inf), 0.0
    for number in range(trials + AGENTS):
        if number >= AGENTS or number >= trials:
            now, last = heapq.heappop(ends) if ends else (now, -1)
            if last < 0:
                break
            config = running.pop(last)
            true = function.evaluate(list(config.values()))
            seen = true + function.noise * random.Random(f"noise {name} {seed} {last}").gauss(0, 1)
            ended.append((config, seen))
            best = min(best, (seen, true))
            course.regret.append(max(best[1] - function.optimum, 0.0))
        if number < trials:
            started_s = time.perf_counter()
            running[number] = ask(ended, list(running.values()))
            course.asking_s += time.perf_counter() - started_s
            takes = random.Random(f"time {name} {seed} {number}").lognormvariate(0, 0.5)
            heapq.heappush(ends, (now + takes, number))
    return course


def run_here(methods: Sequence[str], seeds: Sequence[int], trials: int) -> Iterator[Course]:
    warnings.simplefilter("ignore")  # the reference overflows now and then
    for name in FUNCTIONS:
        for method in methods:
            for seed in seeds:
                course = sweep(name, method, seed, trials)
                print(f"{name}, {method}, seed {seed}: {course.regret[-1]:.3g}", file=sys.stderr)
                yield course


def run_reference(seeds: Sequence[int], trials: int) -> list[Course]:
    """The reference's sweeps, by this script in an environment of its own; none if that can't be made."""
    with scratch() as folder:
        python = Path(folder, "bin", "python")
        make = [
            [sys.executable, "-m", "venv", folder],
            [str(python), "-m", "pip", "install", "--quiet", *REFERENCE_PACKAGES],
        ]
        for command in make:
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                error = done.stderr.strip().splitlines()[-1:]
                print(f"The reference is left out: {' '.join(command[1:])} failed: {error}", file=sys.stderr)
                return []
        worker = [str(python), __file__, "--worker", "--repeat", str(len(seeds)), "--first-seed", str(seeds[0])]
        worker += ["--trials", str(trials)]
        out = subprocess.run(worker, check=True, stdout=subprocess.PIPE, text=True, env=alone()).stdout
    return [Course(**json.loads(line)) for line in out.splitlines()]


def alone() -> dict[str, str]:
    """The environment without this one's packages."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}


# --- report ---


def wilson(wins: float, count: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a share."""
    share, scale = wins / count, 1 + z * z / count
    middle = share + z * z / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max((middle - half) / scale, 0.0), min((middle + half) / scale, 1.0)


def rows(courses: Sequence[Course], trials: int) -> list[results.Row]:
    """A row per function, method and checkpoint."""
    rows: list[results.Row] = []
    by_key = {(c.function, c.method, c.seed): c for c in courses}
    methods = list(dict.fromkeys(c.method for c in courses))
    seeds = sorted({c.seed for c in courses})
    for name in FUNCTIONS:
        for method in methods:
            of_method = [by_key[name, method, seed] for seed in seeds]
            asking_ms = 1000 * statistics.mean(c.asking_s for c in of_method) / trials
            for after in [n for n in CHECKPOINTS if n <= trials]:
                regrets = [c.regret[after - 1] for c in of_method]
                ours = [by_key[name, "bayes", seed].regret[after - 1] for seed in seeds]
                rows.append(
                    {
                        "function": name,
                        "method": method,
                        "trials": after,
                        "median regret": statistics.median(regrets),
                        "`bayes` wins (95 %)": None if method == "bayes" else wins(ours, regrets),
                        "ms per choice": asking_ms,
                    }
                )
    return rows


def wins(ours: Sequence[float], others: Sequence[float]) -> str:
    """The share of seeds in which we have the smaller regret, and its interval."""
    count = sum((a < b) + 0.5 * (a == b) for a, b in zip(ours, others, strict=True))
    return "{:.0%} ({:.0%} to {:.0%})".format(count / len(ours), *wilson(count, len(ours)))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = results.parser(__doc__)
    parser.add_argument("--first-seed", type=int, default=0, help="the others follow it (default: %(default)s)")
    parser.add_argument("--trials", type=int, help="trials per sweep (default: 100; with --quick 25)")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = results.parse(parser, arguments)
    os.environ["OMP_NUM_THREADS"] = "1"  # as the server has it; before NumPy is imported
    trials = options.trials or (25 if options.quick else 100)
    seeds = range(options.first_seed, options.first_seed + options.repeat)
    if options.worker:
        for course in run_here(["sweeps"], seeds, trials):
            print(json.dumps(asdict(course)), flush=True)
        return
    sys.path.insert(0, str(REPO))
    courses = run_here(["bayes", "Optuna's TPE", "random"], seeds, trials)
    reference = [] if options.quick else run_reference(seeds, trials)
    name = f"Regret of searches with {AGENTS} agents, seeds {seeds[0]} to {seeds[-1]}"
    table = results.Table(name, rows([*courses, *reference], trials))
    results.report(__file__, __doc__, options, [table])


if __name__ == "__main__":
    main()
