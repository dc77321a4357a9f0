"""What the project has set out to reach, and what of it the figures show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from figures import Figures
from peers import FORK, LOOP, WANDB_AGENT
from results import Row, number


@dataclass(frozen=True)
class Goal:
    """what: is to be at most (or at least) `limit`. unit: of it, as it is written after the number.

    reached: from the figures, None if they have nothing on it. remark: what else a reader has to know, from them too.
    """

    what: str
    limit: float
    unit: str
    reached: Callable[[Figures], float | None]
    at_most: bool = True
    remark: Callable[[Figures], str] = lambda _: ""

    def row(self, figures: Figures) -> Row:
        """As in the page's table."""
        value = self.reached(figures)
        sign = "≤" if self.at_most else "≥"
        is_met = None if value is None else (value <= self.limit) == self.at_most or value == self.limit
        return {
            "what": self.what,
            "goal": f"{sign} {number(self.limit)}{self.unit}",
            "reached": "not measured" if value is None else f"{number(value)}{self.unit}",
            "met": {None: "", True: "yes", False: "**no**"}[is_met],
            "remark": self.remark(figures),
        }


def _cost(column: str, trial: str, peer: str = FORK, factor: float = 1.0) -> Callable[[Figures], float | None]:
    def reached(figures: Figures) -> float | None:
        value = figures.number("overhead", column, {"trial": trial, "with": peer})
        return None if value is None else factor * value

    return reached


def _later_trials(trial: str, peer: str, than: str) -> Callable[[Figures], str]:
    """How much longer a peer's later trials take than another one's."""

    def remark(figures: Figures) -> str:
        mine, other = (
            figures.number("overhead", "later trials (s)", {"trial": trial, "with": name}) for name in (peer, than)
        )
        if mine is None or other is None:
            return ""
        return f"without the first trial, in which W&B's service starts: {number(mine / other)} times"

    return remark


def _in_ms(column: str, trial: str) -> Callable[[Figures], str]:
    def remark(figures: Figures) -> str:
        value = _cost(column, trial, factor=1000)(figures)
        return "" if value is None else f"without the first trial: {number(value)} ms"

    return remark


def _utilisation(trial: str) -> Callable[[Figures], float | None]:
    return lambda figures: figures.number(
        "utilisation", "without the ends (%)", {"trial": trial, "with": "this plugin"}
    )


def _with_ends(trial: str) -> Callable[[Figures], str]:
    def remark(figures: Figures) -> str:
        value = figures.number("utilisation", "in trials (%)", {"trial": trial, "with": "this plugin"})
        return "" if value is None else f"with ramp-up and tail: {number(value)} %"

    return remark


def _first_trial(task: str, way: str) -> Callable[[Figures], float | None]:
    return lambda figures: figures.number("latency", "times python app.py", {"task": task, "with": way})


def _composition(app: str, way: str) -> Callable[[Figures], float | None]:
    return lambda figures: figures.number("composition", "ms per trial", {"app": app, "with": way})


def _other_compositions(figures: Figures) -> str:
    said = {
        "with config groups": _composition("groups", "this plugin"),
        "Hydra's own functions": _composition("one value", "Hydra's own functions"),
    }
    found = {what: reached(figures) for what, reached in said.items()}
    return "; ".join(f"{what}: {number(value)} ms" for what, value in found.items() if value is not None)


def _other_first_trials(figures: Figures) -> str:
    said = {
        "of an app with a 3-s import": _first_trial("returns + 3 s import", "this plugin, server runs"),
        "of one that imports wandb": _first_trial("logs", "this plugin, server runs"),
        "Hydra's own `-m`, without imports": _first_trial("returns", "python app.py -m (Hydra's BasicSweeper)"),
    }
    found = {what: reached(figures) for what, reached in said.items()}
    return "; ".join(f"{what}: {number(value)} times" for what, value in found.items() if value is not None)


def _growth(figures: Figures) -> float | None:
    costs = [figures.number("growth", "s per trial", {"finished before": finished}) for finished in (100_000, 100)]
    return costs[0] / costs[1] if costs[0] is not None and costs[1] is not None else None


GOALS = (
    Goal(
        "overhead per trial with W&B logging, against a plain loop",
        1.15,
        " times",
        _cost("times the loop", "logs"),
        remark=_later_trials("logs", FORK, LOOP),
    ),
    Goal(
        "against `wandb agent` (CLI), same trials, no heavy imports",
        35,
        " times less",
        _cost("times less than wandb agent", "logs"),
        at_most=False,
        remark=_later_trials("logs", WANDB_AGENT, FORK),
    ),
    Goal(
        "the same with a 3-s import in the training script",
        60,
        " times less",
        _cost("times less than wandb agent", "logs + 3 s import"),
        at_most=False,
        remark=_later_trials("logs + 3 s import", WANDB_AGENT, FORK),
    ),
    Goal(
        "task that only returns a number (no W&B code), per trial on the embedded server",
        40,
        " ms",
        _cost("s per trial", "returns", factor=1000),
        remark=_in_ms("later trials (s)", "returns"),
    ),
    Goal(
        "Hydra composition and output directory, per trial",
        15,
        " ms",
        _composition("one value", "this plugin"),
        remark=_other_compositions,
    ),
    Goal("utilisation of agents, 2-s trials", 95, " %", _utilisation("logs, 2 s"), False, _with_ends("logs, 2 s")),
    Goal("utilisation of agents, 30-s trials", 99, " %", _utilisation("logs, 30 s"), False, _with_ends("logs, 30 s")),
    Goal(
        "first trial starts after return is pressed (local launcher), against `python train.py`",
        1.5,
        " times",
        _first_trial("returns", "this plugin, server runs"),
        remark=_other_first_trials,
    ),
    Goal(
        "plugin tax on an unrelated Hydra app",
        10,
        " ms",
        lambda figures: figures.number(
            "startup", "more than the row before (ms)", {"environment": "with this plugin too"}
        ),
    ),
    Goal("a trial after 10⁵ finished ones against one after 10²", 1.1, " times", _growth),
)
