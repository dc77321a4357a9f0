"""A sweep configuration: read, checked and turned into a search. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import yaml

from .early_stop import Hyperband, parse_early_terminate
from .errors import ClientError
from .search import Search
from .search.bayes import BayesSearch, read_objectives
from .search.external import ExternalSearch
from .search.grid import GridSearch
from .search.random import RandomSearch
from .search.space import parse_parameters

_KNOWN_KEYS = frozenset(
    """apiVersion command controller description early_terminate entity image_uri job kind method metric metrics
    name parameters program project run_cap scheduler""".split()  # noqa: SIM905
)
# libyaml takes a sixth of the time, which is seconds where a parameter has 100,000 values, and bounds nesting itself.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_SHUFFLE_ARGUMENT = "--shuffle"
_SEED_ARGUMENT = re.compile(r"--seed=(-?\d+)\Z")


@dataclass(frozen=True)
class SweepConfig:
    """What the server needs of a sweep configuration.

    Attributes:
        method: `grid`, `random`, `bayes`, or what a scheduler outside of the server goes by.
        search: Its trials.
        run_cap: Most runs the sweep may have, or None.
        program: The script of the sweep, or None.
        name: What the user calls it, or None.
        description: The user's words, or None.
        parameters: The section as given, to see whether an update changes it.
        document: All of it, as given.
        early_stop: When this server stops runs early, or None: a scheduler does that itself.
        warnings: What is in the configuration and has no effect here.
    """

    method: str
    search: Search
    run_cap: int | None
    program: str | None
    name: str | None
    description: str | None
    parameters: Any
    document: dict[str, Any]
    early_stop: Hyperband | None
    warnings: tuple[str, ...]

    @property
    def trial_count(self) -> int | None:
        """Runs this sweep will have, or None if without end."""
        counts = [count for count in (self.search.trial_count, self.run_cap) if count is not None]
        return min(counts) if counts else None


def parse_sweep_config(text: str, seed: int) -> SweepConfig:
    """Read a sweep configuration.

    Args:
        text: YAML (or JSON, which is YAML).
        seed: For random and Bayesian search and for grids whose command has an argument `--shuffle`, unless the
            command has an argument `--seed=<int>` too.

    Raises:
        ClientError: Names the key, the value and the rule.
    """
    try:
        config = yaml.load(text, _LOADER)  # noqa: S506 (both are safe loaders)
    except (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        # Others than YAMLError: what looks like a date and is none, a tag with a value of the wrong form.
        raise ClientError(f"the sweep configuration is not valid YAML: {error}") from error
    if not isinstance(config, dict):
        raise ClientError(f"the sweep configuration must be a mapping, not {type(config).__name__}")
    run_cap = config.get("run_cap")
    if run_cap is not None and (isinstance(run_cap, bool) or not isinstance(run_cap, int) or run_cap < 1):
        raise ClientError(f"run_cap = {run_cap!r} must be an integer greater than 0")
    return SweepConfig(
        method=str(config.get("method")),
        search=_search(config, _seed(config, seed)),
        run_cap=run_cap,
        program=_text(config, "program"),
        name=_text(config, "name"),
        description=_text(config, "description"),
        parameters=config.get("parameters"),
        document=config,
        early_stop=None if config.get("scheduler") is not None else parse_early_terminate(config),
        warnings=tuple(_warnings(config)),
    )


def _text(config: dict[str, Any], key: str) -> str | None:
    value = config.get(key)
    return None if value is None else str(value)


def _command(config: dict[str, Any]) -> list[Any]:
    command = config.get("command")
    return command if isinstance(command, list) else []


def _seed(config: dict[str, Any], default: int) -> int:
    for argument in _command(config):
        match = _SEED_ARGUMENT.match(argument) if isinstance(argument, str) else None
        if match:
            return int(match[1])
    return default


def _search(config: dict[str, Any], seed: int) -> Search:
    method = config.get("method")
    controller = config.get("controller")
    if isinstance(controller, dict) and controller.get("type") == "local":
        raise ClientError(
            "controller.type = 'local' is not available in this server; use method grid, random or bayes"
        )
    if config.get("scheduler") is not None:
        return ExternalSearch()
    if method == "grid":
        shuffle_seed = seed if _SHUFFLE_ARGUMENT in _command(config) else None
        return GridSearch(parse_parameters(config.get("parameters")), shuffle_seed)
    if method == "random":
        return RandomSearch(parse_parameters(config.get("parameters")), seed)
    if method == "bayes":
        return BayesSearch(parse_parameters(config.get("parameters")), read_objectives(config), seed)
    if method == "custom":
        raise ClientError(
            "method = 'custom' is not available in this server; use grid, random or bayes, or a scheduler"
        )
    raise ClientError(f"method = {method!r} does not exist; methods are grid, random, bayes, custom")


def _warnings(config: dict[str, Any]) -> list[str]:
    warnings = [
        f"{key!r} is not a key of sweep configurations" for key in sorted(map(str, set(config) - _KNOWN_KEYS))
    ]
    early_terminate = config.get("early_terminate")
    if isinstance(early_terminate, dict) and "s" in early_terminate and "max_iter" not in early_terminate:
        warnings.append("'early_terminate.s' has no effect without max_iter")
    metric = config.get("metric")
    if config.get("method") == "bayes" and isinstance(metric, dict):
        warnings += [
            f"'metric.{key}' has no effect here: runs that fail count as the worst, and running ones as not known yet"
            for key in ("impute", "impute_while_running")
            if metric.get(key) not in (None, "worst", "false", False)
        ]
    return warnings
