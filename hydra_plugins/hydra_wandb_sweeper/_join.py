"""Working on a sweep that exists, by a command that leaves the search to it, or the very one that made it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ._distributions import implied_distribution
from ._errors import SettingError
from ._search_space import Parameter, SearchSpace
from ._settings import Settings, check_stoppable
from ._sweep_config import flat_parameters, read_metric, read_template
from ._template import Form, Template
from ._trial_line import line_values
from ._values import canonical

# Values in a message.
_MOST_SHOWN = 20


def fixed_overrides(settings: Settings, space: SearchSpace, config: Mapping[str, Any]) -> list[str]:
    """Return the overrides, beside the sweep's own, of all trials that are run for the command.

    settings, space: what the command says. config: the sweep's. What both say has to be the same: the sweep decides.
    Errors: SettingError for what differs.
    """
    _refuse_other_search(settings, config)
    theirs, own = dict(flat_parameters(config)), read_template(config)
    _refuse_keys_of_trials(space, own, theirs)
    fixed: list[str] = []
    for item in space.items:
        if isinstance(item, str):
            fixed += [item] if item not in own.items else []
        elif item.slot.name in theirs:
            _refuse_other_values(item, theirs[item.slot.name])
        elif item.is_fixed:
            fixed += Template((item.slot,)).overrides({item.slot.name: item.spec["value"]})
        else:
            raise SettingError(
                "sweep_id",
                f"{item.slot.key}={_shown(item.spec)}",
                "an existing sweep decides what is swept; fix other keys only",
            )
    return fixed


def _refuse_keys_of_trials(space: SearchSpace, own: Template, theirs: Mapping[str, Mapping[str, Any]]) -> None:
    """The sweep's list of trials, which an override of the command would silently lose against."""
    mine = {(item if isinstance(item, str) else f"{item.slot.key}=").partition("=")[0] for item in space.items}
    beside = {key.lstrip("+~") for key in mine}
    for slot in own.slots:
        if slot.form is not Form.LINE:
            continue
        for line in theirs.get(slot.name, {}).get("values", ()):
            if shared := [key for key in line_values(line) if key.lstrip("~") in beside]:
                raise SettingError(
                    "sweep_id",
                    shared[0],
                    f"the sweep's own trials set it ('{line}', hydra.sweeper.trials); fix other keys only",
                )


def _refuse_other_search(settings: Settings, config: Mapping[str, Any]) -> None:
    """Settings that the command gives of the search itself; None where it doesn't."""
    check_stoppable(settings, config.get("early_terminate"))
    metric = read_metric(config)
    goal = settings.metric_goal if settings.metric_name_given else None
    given = {
        "method": (settings.method, config.get("method")),
        "metric.name": (settings.metric_name if settings.metric_name_given else None, metric.get("name")),
        "metric.goal": (goal, metric.get("goal") or "minimize"),
        "run_cap": (settings.run_cap, config.get("run_cap")),
        "early_terminate": (settings.early_terminate, config.get("early_terminate")),
    }
    for field, (mine, theirs) in given.items():
        # A sweep that was made elsewhere may have no metric; then it is this command's.
        if mine is None or mine == theirs or (field.startswith("metric.") and not metric):
            continue
        raise SettingError(
            field,
            mine,
            f"contradicts the sweep that hydra.sweeper.sweep_id joins, which has {theirs!r}; leave it out",
        )


def _refuse_other_values(mine: Parameter, theirs: Mapping[str, Any]) -> None:
    if _comparable(mine.slot.name, mine.spec) == _comparable(mine.slot.name, theirs):
        return
    raise SettingError(
        "sweep_id",
        f"{mine.slot.key}={_shown(mine.spec)}",
        f"an existing sweep decides what is swept, and this one has {_shown(theirs)}; fix other keys only",
    )


def _comparable(name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    """What makes two parameters the same to a server; the order of values doesn't."""
    content = {key: value for key, value in spec.items() if key not in ("values", "probabilities", "distribution")}
    values = spec.get("values") or ()
    weights = spec.get("probabilities") or [None] * len(values)
    return {
        "distribution": implied_distribution(name, spec),
        "values": sorted((canonical(value), repr(weight)) for value, weight in zip(values, weights, strict=True)),
        **{key: canonical(value) for key, value in content.items()},
    }


def _shown(spec: Mapping[str, Any]) -> str:
    if "value" in spec:
        return str(spec["value"])
    if "values" not in spec:
        return str(dict(spec))
    values = [str(value) for value in spec["values"]]
    rest = len(values) - _MOST_SHOWN
    return ",".join(values) if rest <= 0 else ",".join(values[:_MOST_SHOWN]) + f",… ({rest} more)"
