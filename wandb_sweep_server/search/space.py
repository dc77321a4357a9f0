"""The parameters of a sweep configuration as a flat list of dimensions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from wandb_sweep_server.errors import ClientError

from .distributions import Distribution, parse_distribution

_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*\Z")


@dataclass(frozen=True)
class Dimension:
    """One parameter; `path` has several parts where parameters are nested."""

    path: tuple[str, ...]
    distribution: Distribution

    @property
    def name(self) -> str:
        """The path as one text, for messages."""
        return ".".join(self.path)


def parse_parameters(parameters: Any) -> tuple[Dimension, ...]:
    """Read the `parameters` section of a sweep configuration, in its order.

    Raises:
        ClientError: Names the parameter, the value and the rule.
    """
    return tuple(_dimensions(parameters, ()))


def _dimensions(parameters: Any, prefix: tuple[str, ...]) -> Iterable[Dimension]:
    owner = f"parameter {'.'.join(prefix)!r}: " if prefix else ""
    if not isinstance(parameters, dict) or not parameters:
        raise ClientError(f"{owner}parameters = {parameters!r} must be a mapping with at least one parameter")
    for key, spec in parameters.items():
        name = ".".join((*prefix, str(key)))
        if not isinstance(key, str) or not _KEY.match(key):
            raise ClientError(
                f"parameter {name!r}: a name starts with a letter or _ and has letters, digits and _ . - only"
            )
        if not isinstance(spec, dict):
            raise ClientError(f"parameter {name!r}: {spec!r} must be a mapping, such as {{'value': {spec!r}}}")
        _check_json(name, spec)
        if set(spec) == {"parameters"}:
            yield from _dimensions(spec["parameters"], (*prefix, key))
        else:
            yield Dimension((*prefix, key), parse_distribution(name, spec))


def _check_json(name: str, spec: dict[str, Any]) -> None:
    # YAML knows dates, sets, bytes and mappings that contain themselves; agents get JSON.
    try:
        json.dumps(spec)
    except (TypeError, ValueError, RecursionError) as error:
        raise ClientError(f"parameter {name!r}: values must be JSON ({error}); put quotes around a date") from error


def build_args(values: Iterable[tuple[Dimension, Any]]) -> dict[str, Any]:
    """Values by dimension in the form agents get them: `{"lr": {"value": 0.1}}`, nesting inside the value."""
    args: dict[str, Any] = {}
    for dimension, value in values:
        head, *rest = dimension.path
        if not rest:
            args[head] = {"value": value}
            continue
        node: dict[str, Any] = args.setdefault(head, {"value": {}})["value"]
        for part in rest[:-1]:
            node = node.setdefault(part, {})
        node[rest[-1]] = value
    return args


def plain_args(config: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments from a client, each wrapped in `{"value": …}` or bare, as wrapped ones."""
    return {
        key: {"value": item["value"]} if isinstance(item, dict) and "value" in item else {"value": item}
        for key, item in config.items()
    }
