"""How a trial's values, as a server hands them out, become Hydra overrides.

A template is the ordered list of overrides of every trial: fixed texts, and slots that a claimed value fills. It
travels inside the sweep config (as a literal argument of `command`), so that an agent with nothing but the sweep id
turns claimed values into exactly the overrides that the user's command line meant.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from ._errors import SweepError
from ._trial_line import line_values, split_line
from ._values import canonical, render

_VERSION = 1


class Form(str, Enum):
    """What a claimed value is, besides being JSON."""

    JSON = "json"  # its own type
    FLOAT = "float"  # a float, even where JSON made it an integer
    INT = "int"  # an integer, even where JSON made it a float
    TEXT = "text"  # a string that holds override text, applied as it is
    LINE = "line"  # a trial of a list: a line of overrides, whatever their keys
    UNUSED = "unused"  # no override: there because W&B wants at least one parameter


@dataclass(frozen=True)
class Slot:
    """The place of one parameter in the template.

    name: W&B's parameter name. key: Hydra's key element ('+db@src', 'optimizer.lr').
    texts: canonical JSON of a value -> its exact override text, where `form` alone would not give it.
    """

    name: str
    key: str
    form: Form = Form.JSON
    texts: Mapping[str, str] = field(default_factory=dict)

    def value_text(self, value: Any) -> str:
        """Return the override text (the part after `=`) of a claimed value."""
        if self.form is Form.TEXT:
            return str(value)
        exact = self.texts.get(canonical(value))
        if exact is not None:
            return exact
        if self.form is Form.FLOAT and _is_number(value):
            return render(float(value))
        if self.form is Form.INT and _is_number(value) and float(value).is_integer():
            return render(int(value))
        return render(value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True)
class Template:
    """items: fixed override texts and slots, in the order in which they are applied."""

    items: tuple[str | Slot, ...] = ()

    @property
    def slots(self) -> tuple[Slot, ...]:
        """The slots, in order."""
        return tuple(item for item in self.items if isinstance(item, Slot))

    def overrides(self, args: Mapping[str, Any]) -> list[str]:
        """Return the Hydra overrides of a trial.

        args: W&B parameter name -> value as claimed. Names without a slot (a parameter added on the W&B page, or a
        sweep that wasn't made by this plugin) become overrides of that key, after all others.
        Errors: SweepError when a slot has no value, since a trial without it would run a different configuration.
        """
        remaining = dict(args)
        result = []
        for item in self.items:
            if isinstance(item, str):
                result.append(item)
                continue
            if item.name not in remaining:
                raise SweepError(
                    f"The server handed out a trial without the parameter '{item.name}' "
                    f"(it has: {', '.join(sorted(args)) or 'none'}). The sweep was edited after its creation; "
                    "create a new one."
                )
            value = remaining.pop(item.name)
            if item.form is Form.LINE:
                result.extend(_overrides_of_line(item.name, str(value)))
            elif item.form is not Form.UNUSED:
                result.append(f"{item.key}={item.value_text(value)}")
        result.extend(f"{name}={render(value)}" for name, value in remaining.items())
        return result

    def values(self, args: Mapping[str, Any], read: Callable[[str], Any] = str) -> dict[str, Any]:
        """Return claimed values for people to read: a line of a list of trials by the keys that it sets.

        read: makes a value of override text: that of such a key, or that as which a value travels.
        """
        forms = {slot.name: slot.form for slot in self.slots}
        result: dict[str, Any] = {}
        for name, value in args.items():
            try:
                line = line_values(str(value)) if forms.get(name) is Form.LINE else None
            except ValueError:  # edited on the server; its trial fails by itself
                line = None
            if line is not None:
                result |= {key: read(text) for key, text in line.items()}
            else:
                result[name] = read(str(value)) if forms.get(name) is Form.TEXT else value
        return result

    def to_json(self) -> str:
        """Return the template as ASCII JSON without `$`, which W&B's agent would expand in `${envvar:…}`."""
        items = [item if isinstance(item, str) else _slot_to_json(item) for item in self.items]
        text = json.dumps({"version": _VERSION, "overrides": items}, separators=(",", ":"))
        return text.replace("$", "\\u0024")

    @classmethod
    def from_json(cls, text: str) -> Template:
        """Inverse of to_json. Errors: SweepError if it isn't a template of a version known here."""
        try:
            data = json.loads(text)
            if data["version"] != _VERSION:
                raise SweepError(
                    f"The sweep was made by another version of hydra-wandb-sweeper (template version "
                    f"{data['version']}, known here: {_VERSION}). Install the version that made it."
                )
            return cls(tuple(x if isinstance(x, str) else _slot_from_json(x) for x in data["overrides"]))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SweepError(
                f"The sweep's override template can't be read ({error!r}): {text[:200]}. Create a new sweep."
            ) from error


def _overrides_of_line(name: str, line: str) -> list[str]:
    try:
        return split_line(line)
    except ValueError as error:
        raise SweepError(
            f"The server handed out a trial whose '{name}' = {line!r} is no line of overrides ({error}). "
            "The sweep was edited after its creation; create a new one."
        ) from error


def _slot_to_json(slot: Slot) -> dict[str, Any]:
    data: dict[str, Any] = {"parameter": slot.name}
    if slot.key != slot.name:
        data["key"] = slot.key
    if slot.form is not Form.JSON:
        data["form"] = slot.form.value
    if slot.texts:
        data["texts"] = dict(slot.texts)
    return data


def _slot_from_json(data: Mapping[str, Any]) -> Slot:
    name = data["parameter"]
    texts = data.get("texts", {})
    if not isinstance(name, str) or not isinstance(texts, dict):
        raise TypeError(f"malformed slot {data}")
    return Slot(name, data.get("key", name), Form(data.get("form", "json")), texts)
