"""The parameters of a sweep as charts show them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from wandb_sweep_server import jsontext
from wandb_sweep_server.importance import is_finite, is_number

# Values further apart than that are read better on a logarithmic axis.
_WIDE = 100.0
_ABSENT = object()


@dataclass(frozen=True)
class Parameter:
    """A parameter whose value differs between runs.

    Attributes:
        path: Its keys in the sweep configuration, several where parameters are nested.
        is_number: Its values are numbers, not categories.
        is_log: Its numbers are read best on a logarithmic axis.
    """

    path: tuple[str, ...]
    is_number: bool
    is_log: bool

    @property
    def name(self) -> str:
        """The path as one text."""
        return ".".join(self.path)

    def to_json(self) -> dict[str, str]:
        """As sweep data has it."""
        kind = "number" if self.is_number else "category"
        return {"name": self.name, "kind": kind, "scale": "log" if self.is_log else "linear"}

    def value_in(self, arguments: Mapping[str, Any]) -> float | str | None:
        """A run's value, as a number or a text; None if it has none.

        arguments: as runs are handed out, `{"lr": {"value": 0.1}}`.
        """
        value: Any = arguments.get(self.path[0])
        value = value.get("value", _ABSENT) if isinstance(value, dict) else _ABSENT
        for part in self.path[1:]:
            value = value.get(part, _ABSENT) if isinstance(value, dict) else _ABSENT
        return None if value is _ABSENT else _shown(value)


def _shown(value: Any) -> float | str:
    """A number or a text; null, true and lists are texts too."""
    if isinstance(value, str) or (is_number(value) and is_finite(value)):
        return value  # type: ignore[no-any-return]
    return jsontext.dumps(value)


def swept_parameters(parameters: Any) -> list[Parameter]:
    """The parameters of a sweep configuration that are no constants, in its order.

    parameters: the section as given; a scheduler's may be anything.
    """
    return [_parameter(path, spec) for path, spec in _flat(parameters, ()) if not _is_constant(spec)]


def _flat(parameters: Any, prefix: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    for key, spec in parameters.items() if isinstance(parameters, dict) else ():
        if isinstance(spec, dict) and "parameters" in spec:
            yield from _flat(spec["parameters"], (*prefix, str(key)))
        elif isinstance(spec, dict):
            yield (*prefix, str(key)), spec


def _values(spec: Mapping[str, Any]) -> list[Any] | None:
    values = spec.get("values")
    return values if isinstance(values, list) else None


def _is_constant(spec: Mapping[str, Any]) -> bool:
    values = _values(spec)
    if values is None:
        return "value" in spec
    return all(value == values[0] and type(value) is type(values[0]) for value in values)


def _parameter(path: tuple[str, ...], spec: Mapping[str, Any]) -> Parameter:
    values = _values(spec)
    if values is None:
        return Parameter(path, True, "log" in str(spec.get("distribution")))
    if not all(is_finite(value) for value in values):
        return Parameter(path, False, False)
    return Parameter(path, True, min(values) > 0 and max(values) / min(values) > _WIDE)
