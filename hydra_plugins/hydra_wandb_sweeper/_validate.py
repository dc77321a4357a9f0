"""Composes every value of every parameter once, before a sweep exists: sum, not product.

A typo in a key or a missing option of a config group is then Hydra's own error within seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ._errors import SweepError
from ._sweep_config import flat_parameters
from ._template import Form, Template
from ._trial_line import split_line


def example_values(spec: Mapping[str, Any]) -> list[Any]:
    """Return values of a W&B parameter that stand for all: all of a list, the ends of an interval."""
    if "value" in spec:
        return [spec["value"]]
    if "values" in spec:
        return list(spec["values"])
    if "min" in spec and not str(spec.get("distribution", "")).endswith("log_uniform"):
        return [spec["min"], spec["max"]]
    return [1]  # within reach of every other distribution, and fit for integers


def first_overrides(template: Template, config: Mapping[str, Any]) -> list[str]:
    """Return the overrides of one possible trial of a sweep config."""
    return template.overrides({name: example_values(spec)[0] for name, spec in flat_parameters(config)})


def validate(loader: ConfigLoader, master: DictConfig, template: Template, config: Mapping[str, Any]) -> None:
    """Raise Hydra's own error for the first override that doesn't compose."""
    parser = OverridesParser.create()
    parameters = dict(flat_parameters(config))
    first = {name: example_values(spec)[0] for name, spec in parameters.items()}
    composed = _compose(loader, master, template, first)
    for slot in template.slots:
        if slot.form is Form.LINE:
            _validate_lines(loader, master, template, slot.name, first, example_values(parameters[slot.name]))
            continue
        values = example_values(parameters[slot.name])[1:]
        if not values:
            continue
        is_group = bool(loader.get_group_options(slot.key.lstrip("+~").partition("@")[0]))
        for value in values:
            if is_group or not _fits(composed, parser.parse_override(f"{slot.key}={slot.value_text(value)}")):
                _compose(loader, master, template, {**first, slot.name: value})


def _compose(loader: ConfigLoader, master: DictConfig, template: Template, args: Mapping[str, Any]) -> DictConfig:
    """Compose a trial. Errors: Hydra's own; SweepError with the line and Hydra's words for a trial of a list."""
    try:
        return loader.load_sweep_config(master, template.overrides(args))
    except HydraException as error:
        line = next((args[slot.name] for slot in template.slots if slot.form is Form.LINE), None)
        if line is None:
            raise
        raise SweepError(f"The trial '{line}' of hydra.sweeper.trials doesn't compose: {error}") from error


def _validate_lines(
    loader: ConfigLoader,
    master: DictConfig,
    template: Template,
    name: str,
    first: Mapping[str, Any],
    lines: Sequence[str],
) -> None:
    """Check every line of a list of trials, at the price of composing one of each kind."""
    parser = OverridesParser.create(config_loader=loader)

    @cache
    def is_group(key: str) -> bool:
        return bool(loader.get_group_options(key))

    composed: dict[tuple[str, ...], DictConfig] = {}
    for line in lines:
        overrides = parser.parse_overrides(split_line(line))
        # What decides which keys there are: chosen groups, and what is added and deleted.
        kind = tuple(str(o.input_line) if is_group(o.key_or_group) else o.get_key_element() for o in overrides)
        settable = [o for o in overrides if not is_group(o.key_or_group) and o.type is not OverrideType.DEL]
        if kind not in composed or not all(_fits(composed[kind], override) for override in settable):
            composed[kind] = _compose(loader, master, template, {**first, name: line})


def _fits(composed: DictConfig, override: Override) -> bool:
    """True if the value can be set in a config composed with another value of the same key.

    The same check as composing anew for a key that isn't a config group, at a thousandth of the time: without it a
    range of 10^5 values would take hours. False means: ask Hydra.
    """
    try:
        OmegaConf.update(composed, override.key_or_group, override.value(), merge=True)
    except OmegaConfBaseException:
        return False
    return True
