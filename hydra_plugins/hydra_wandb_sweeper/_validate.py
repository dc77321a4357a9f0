"""Composes every value of every parameter once, before a sweep exists: sum, not product.

A typo in a key or a missing option of a config group is then Hydra's own error within seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ._composing import Composer
from ._errors import SweepError
from ._override_text import OverrideReader, ReadOverride
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


def validate(loader: ConfigLoader, master: DictConfig, template: Template, config: Mapping[str, Any]) -> Composer:
    """Raise Hydra's own error for the first override that doesn't compose.

    Returns what has composed a first trial: prepared for others.
    """
    composer = Composer(loader, master)
    reader = OverrideReader(OverridesParser.create())
    parameters = dict(flat_parameters(config))
    first = {name: example_values(spec)[0] for name, spec in parameters.items()}
    composer.prepare(template.overrides(first))
    composed = _compose(composer, template, first)
    for slot in template.slots:
        if slot.form is Form.LINE:
            _validate_lines(loader, composer, template, slot.name, first, example_values(parameters[slot.name]))
            continue
        values = example_values(parameters[slot.name])[1:]
        if not values:
            continue
        is_group = composer.is_group(slot.key.lstrip("+~").partition("@")[0])
        places = Places(composed)
        for value in values:
            if is_group or not places.take(reader.read(f"{slot.key}={slot.value_text(value)}")):
                _compose(composer, template, {**first, slot.name: value})
    return composer


def _compose(composer: Composer, template: Template, args: Mapping[str, Any]) -> DictConfig:
    """Compose a trial. Errors: Hydra's own; SweepError with the line and Hydra's words for a trial of a list."""
    try:
        return composer.compose(template.overrides(args))
    except HydraException as error:
        line = next((args[slot.name] for slot in template.slots if slot.form is Form.LINE), None)
        if line is None:
            raise
        raise SweepError(f"The trial '{line}' of hydra.sweeper.trials doesn't compose: {error}") from error


def _validate_lines(
    loader: ConfigLoader,
    composer: Composer,
    template: Template,
    name: str,
    first: Mapping[str, Any],
    lines: Sequence[str],
) -> None:
    """Check every line of a list of trials, at the price of composing one of each kind."""
    reader, is_group = OverrideReader(OverridesParser.create(config_loader=loader)), composer.is_group
    places: dict[tuple[str, ...], Places] = {}
    for line in lines:
        overrides = [reader.read(text) for text in split_line(line)]
        # What decides which keys there are: chosen groups, and what is added and deleted.
        kind = tuple(o.text if is_group(o.key_or_group) else o.key_element for o in overrides)
        settable = [o for o in overrides if not is_group(o.key_or_group) and not o.is_deletion]
        if kind not in places or not all(map(places[kind].take, settable)):
            places[kind] = Places(_compose(composer, template, {**first, name: line}))


class Places:
    """A composed config, and which values its keys take."""

    def __init__(self, composed: DictConfig) -> None:
        self._composed = composed
        self._kinds: set[tuple[str, type]] = set()

    def take(self, override: ReadOverride) -> bool:
        """True if the value can be set in a config composed with another value of the same key.

        The same check as composing anew for a key that isn't a config group, at a thousandth of the time: without it
        a range of 10^5 values would take hours. False means: ask Hydra.
        """
        key, value = override.key_or_group, override.value
        kind = (key, type(value))
        if kind in self._kinds and _is_one_of_many(value):
            return True
        try:
            OmegaConf.update(self._composed, key, value, merge=True)
            stored = OmegaConf.select(self._composed, key) if _is_one_of_many(value) else None
        except OmegaConfBaseException:
            return False
        if _is_number(stored) if _is_number(value) else type(stored) is str:
            self._kinds.add(kind)
        return True


def _is_one_of_many(value: Any) -> bool:
    """True for a value for which another one of its type can stand: if a key takes one, it takes all.

    Not so where text is read as something else than text, and where few of a type are allowed (enumerations): what
    such a key has taken isn't of the value's own kind.
    """
    if type(value) is str:
        return "$" not in value and value != "???"
    return _is_number(value)


def _is_number(value: Any) -> bool:
    # Larger integers don't fit into a float.
    return type(value) is bool or (type(value) in (int, float) and abs(value) < 2**63)
