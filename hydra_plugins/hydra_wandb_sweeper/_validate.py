"""Composes every value of every parameter once, before a sweep exists: sum, not product.

A typo in a key or a missing option of a config group is then Hydra's own error within seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ._sweep_config import flat_parameters
from ._template import Slot, Template


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
    parameters = dict(flat_parameters(config))
    first = {name: example_values(spec)[0] for name, spec in parameters.items()}
    composed = loader.load_sweep_config(master, template.overrides(first))
    for slot in template.slots:
        values = example_values(parameters[slot.name])[1:]
        if not values:
            continue
        is_group = bool(loader.get_group_options(slot.key.lstrip("+~").partition("@")[0]))
        for value in values:
            if is_group or not _fits(composed, slot, value):
                loader.load_sweep_config(master, template.overrides({**first, slot.name: value}))


def _fits(composed: DictConfig, slot: Slot, value: Any) -> bool:
    """True if the value can be set in a config composed with another value of the same key.

    The same check as composing anew for a key that isn't a config group, at a thousandth of the time: without it a
    range of 10^5 values would take hours. False means: ask Hydra.
    """
    override = OverridesParser.create().parse_override(f"{slot.key}={slot.value_text(value)}")
    try:
        OmegaConf.update(composed, override.key_or_group, override.value(), merge=True)
    except OmegaConfBaseException:
        return False
    return True
