"""Which parameters of a sweep matter: by ranks at once, and by a model where Optuna is installed."""

from __future__ import annotations

import asyncio
import logging
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from wandb_sweep_server.importance import BY as BY_RANKS
from wandb_sweep_server.importance import Importance, importance, is_number, reason_not_to_tell
from wandb_sweep_server.recent import Recent
from wandb_sweep_server.search.bayes import is_installed

log = logging.getLogger(__name__)

_PACKAGES = ("optuna", "sklearn")
# A model is made anew when so many more trials have ended.
_GROWTH = 1.05
# fANOVA, which looks at the whole space, takes seconds with more trials; PED-ANOVA, which looks at the best tenth,
# needs many.
_MOST_FOR_FANOVA = 300
_FEWEST_FOR_A_MODEL = 10
_SWEEPS = 64


@dataclass(frozen=True)
class Table:
    """The runs of a sweep that have finished with its metric.

    Attributes:
        parameters: By name, a value per run, None where a run has none.
        logs: Names of those on a logarithmic scale.
        metric: A value per run.
        is_maximized: The largest metric is the best.
    """

    parameters: Mapping[str, Sequence[float | str | None]]
    logs: frozenset[str]
    metric: Sequence[float]
    is_maximized: bool


@dataclass(frozen=True)
class Found:
    """What was found, the most important parameter first, and how; or a sentence that says why there is nothing."""

    importance: list[Importance]
    by: str
    note: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As sweep data has it."""
        return {
            "importance": [vars(one) for one in self.importance],
            "importance_by": self.by,
            "importance_note": self.note,
        }


NOTHING = Found([], BY_RANKS, "The sweep names no metric that a parameter could matter for.")


def table_of(data: Mapping[str, Any]) -> Table | None:
    """The table in sweep data; None if the sweep names no metric."""
    runs, metric = data["runs"], data["sweep"]["metric"]
    if metric is None:
        return None
    values = runs["metrics"].get(metric["name"], [])
    chosen = [i for i, value in enumerate(values) if value is not None and runs["state"][i] == "finished"]
    return Table(
        {name: [column[i] for i in chosen] for name, column in runs["parameters"].items()},
        frozenset(one["name"] for one in data["parameters"] if one["scale"] == "log"),
        [values[i] for i in chosen],
        metric["goal"] == "maximize",
    )


def by_ranks(table: Table) -> Found:
    """Each parameter alone; nothing where that would mislead."""
    if (note := reason_not_to_tell(table.parameters, table.metric)) is not None:
        return Found([], BY_RANKS, note)
    return Found(importance(table.parameters, table.metric), BY_RANKS)


def by_model(table: Table) -> Found:
    """All parameters together, by Optuna's evaluators; by ranks where there are too few trials for a model.

    Correlations are those of ranks in any case. The first time takes a second more, for the imports.
    """
    ranked = by_ranks(table)
    if ranked.note is not None:
        return ranked
    names = [name for name, values in table.parameters.items() if len({*values, None}) > 2]
    rows = [i for i in range(len(table.metric)) if all(table.parameters[name][i] is not None for name in names)]
    # Without the runs that lack another one, a parameter may be a constant.
    names = [name for name in names if len({table.parameters[name][i] for i in rows}) > 1]
    # A model divides all there is to explain: to a single parameter it would give everything.
    if len(names) < 2 or len(rows) < _FEWEST_FOR_A_MODEL or len({table.metric[i] for i in rows}) < 2:
        return ranked
    shares, by = _shares(table, names, rows)
    correlations = {one.name: one.correlation for one in ranked.importance}
    found = [Importance(name, shares.get(name, 0.0), correlations.get(name)) for name in table.parameters]
    return Found(sorted(found, key=lambda one: -one.importance), by)


def _shares(table: Table, names: Sequence[str], rows: Sequence[int]) -> tuple[dict[str, float], str]:
    import optuna
    from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator, get_param_importances
    from threadpoolctl import threadpool_limits

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    columns = {name: _alike([table.parameters[name][i] for i in rows], name in table.logs) for name in names}
    space = {name: _distribution(values) for name, values in columns.items()}
    study = optuna.create_study(direction="maximize" if table.is_maximized else "minimize")
    study.add_trials(
        optuna.trial.create_trial(
            params={name: values[place] for name, values in columns.items()},
            distributions=space,
            value=table.metric[row],
        )
        for place, row in enumerate(rows)
    )
    is_small = len(rows) <= _MOST_FOR_FANOVA
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        evaluator = FanovaImportanceEvaluator(n_trees=32, seed=0) if is_small else PedAnovaImportanceEvaluator()
        shares = get_param_importances(study, evaluator=evaluator, params=list(names))
    return shares, "fANOVA" if is_small else "PED-ANOVA"


def _alike(values: Sequence[Any], is_log: bool) -> list[Any]:
    """All as floats, or all as texts. Of logarithmic parameters the logarithms: fANOVA looks at all numbers alike."""
    if not all(map(is_number, values)):
        return list(map(str, values))
    return [math.log(value) for value in values] if is_log and min(values) > 0 else list(map(float, values))


def _distribution(values: Sequence[Any]) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if isinstance(values[0], str):
        return CategoricalDistribution(sorted(set(values)))
    return FloatDistribution(min(values), max(values))


@dataclass
class _Known:
    found: Found
    count: int
    what: tuple[Any, ...]


@dataclass
class Importances:
    """What was found of sweeps, as long as it is worth keeping; used in the event loop.

    model: how it is found; None where the packages for it are missing.
    """

    model: Callable[[Table], Found] | None
    _known: Recent[int, _Known] = field(default_factory=lambda: Recent(_SWEEPS))
    _under_way: dict[int, asyncio.Future[Found]] = field(default_factory=dict)
    # One: models of several sweeps would only take the time from whoever wants a trial.
    _thread: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="importance")
    )

    @classmethod
    def of_this_environment(cls, is_installed: Callable[[str], bool] = is_installed) -> Importances:
        """With a model if there is what it needs."""
        return cls(by_model if all(map(is_installed, _PACKAGES)) else None)

    def known(self, sweep_id: int, table: Table | None) -> Found:
        """What a model said lately of the sweep, else what ranks say; quick. To be called in a thread."""
        if table is None:
            return NOTHING
        return self._fresh(sweep_id, table) or by_ranks(table)

    async def find(self, sweep_id: int, table: Table | None) -> Found:
        """The best answer there is; may take seconds, the sweep's other askers wait for the same one."""
        if table is None:
            return NOTHING
        fresh = self._fresh(sweep_id, table)
        if fresh is not None:
            return fresh
        if self.model is None:
            return await asyncio.to_thread(by_ranks, table)
        if sweep_id not in self._under_way:
            self._under_way[sweep_id] = asyncio.ensure_future(self._find(sweep_id, table, self.model))
        return await asyncio.shield(self._under_way[sweep_id])

    async def _find(self, sweep_id: int, table: Table, model: Callable[[Table], Found]) -> Found:
        try:
            try:
                found = await asyncio.get_running_loop().run_in_executor(self._thread, model, table)
            except Exception:  # a version of Optuna that has it otherwise: pages go on without
                log.exception("the importance of parameters can't be modelled; ranks tell it instead")
                found = await asyncio.to_thread(by_ranks, table)
            self._known.put(sweep_id, _Known(found, len(table.metric), _kind(table)))
            return found
        finally:
            del self._under_way[sweep_id]

    def _fresh(self, sweep_id: int, table: Table) -> Found | None:
        known = self._known.peek(sweep_id)
        is_fresh = known is not None and known.what == _kind(table)
        if known is None or not is_fresh or not known.count <= len(table.metric) <= known.count * _GROWTH:
            return None
        return known.found

    def close(self) -> None:
        """Leave what is being computed to itself."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def _kind(table: Table) -> tuple[Any, ...]:
    """What makes an answer another one than the number of trials does."""
    return (tuple(table.parameters), table.logs, table.is_maximized)
