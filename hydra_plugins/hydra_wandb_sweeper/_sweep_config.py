"""The W&B sweep config: made from settings and search space, and read back by an agent that has nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from ._distributions import implied_distribution
from ._search_space import SearchSpace
from ._settings import Settings, check_method
from ._template import Form, Slot, Template

_ENTRY_MODULE = "hydra_plugins.hydra_wandb_sweeper._wandb_agent"
_TEMPLATE_ARGUMENT = "--template="
# Distributions that W&B's grid search can list although they are given by bounds.
_GRID_BOUNDS = frozenset({"int_uniform", "q_uniform"})
# W&B's schema wants at least one parameter; this one is there if the user swept nothing.
_PLACEHOLDER = Slot("hydra_multirun", "hydra_multirun", Form.UNUSED)


@dataclass(frozen=True)
class Program:
    """How the user's app is started: what `wandb agent` needs to run trials without this plugin's agents.

    script: path as the user typed it. module: its name if it was started with `python -m`.
    config_name, config_path, config_dir: Hydra's command-line flags, None where not given.
    hydra_overrides: overrides of Hydra's own configuration, without settings of sweeper and launcher.
    """

    script: str
    module: str | None = None
    config_name: str | None = None
    config_path: str | None = None
    config_dir: str | None = None
    hydra_overrides: tuple[str, ...] = ()


def make_sweep_config(settings: Settings, space: SearchSpace, program: Program) -> dict[str, Any]:
    """Return a sweep config that is valid by W&B's JSON schema.

    Errors: SettingError if the method doesn't fit the search space.
    """
    method = settings.method or ("grid" if space.is_discrete else "random")
    continuous = {p.slot.name: p.spec for p in space.parameters if not _fits_grid(p.spec)}
    check_method(method, continuous, settings)
    template = space.template
    parameters = {p.slot.name: dict(p.spec) for p in space.parameters}
    if not parameters:
        template = Template((*template.items, _PLACEHOLDER))
        parameters = {_PLACEHOLDER.name: {"value": True}}
    metrics = [dict(metric) for metric in settings.metrics]
    config: dict[str, Any] = {
        "program": program.script,
        "method": method,
        "metric": None if metrics else {"name": settings.metric_name, "goal": settings.metric_goal},
        "metrics": metrics or None,
        "name": settings.name,
        "description": settings.description,
        "run_cap": settings.run_cap,
        "early_terminate": dict(settings.early_terminate) if settings.early_terminate else None,
        "parameters": parameters,
        "command": _command(template, program, settings),
    }
    return {key: value for key, value in config.items() if value is not None}


def _fits_grid(spec: Mapping[str, Any]) -> bool:
    return "values" in spec or "value" in spec or spec.get("distribution") in _GRID_BOUNDS


def _command(template: Template, program: Program, settings: Settings) -> list[str]:
    literals = [f"{_TEMPLATE_ARGUMENT}{template.to_json()}", f"--metric={settings.metric_name}"]
    if program.hydra_overrides:
        # `$` would be expanded by W&B's agent in `${envvar:…}`.
        literals.append("--hydra=" + json.dumps(program.hydra_overrides).replace("$", "\\u0024"))
    for flag in ("module", "config_name", "config_path", "config_dir"):
        value = getattr(program, flag)
        if value is not None:
            literals.append(f"--{flag.replace('_', '-')}={value}")
    if settings.seed is not None:
        literals.append(f"--seed={settings.seed}")
    if settings.shuffle:
        literals.append("--shuffle")
    return ["${env}", "${interpreter}", "-m", _ENTRY_MODULE, *literals, "${program}", "${args_json_file}"]


def to_yaml(config: Mapping[str, Any]) -> str:
    """Return the config as YAML that every reader takes for the same values.

    Strings are always quoted (YAML 1.2 reads an unquoted 1e-3 as a number, YAML 1.1 as a string), floats have a
    point (1.0e-05: a number for both).
    """
    return yaml.dump(dict(config), Dumper=_QuotingDumper, sort_keys=False, allow_unicode=True, width=2**31 - 1)


# PyYAML has libyaml in its wheels; without it, a parameter of 100,000 values takes seconds.
_Dumper: type[yaml.SafeDumper] = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _QuotingDumper(_Dumper):  # type: ignore[misc, valid-type]
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_str(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')


_QuotingDumper.add_representer(str, _represent_str)


def from_yaml(text: str) -> dict[str, Any]:
    """Return the config that a server sent; an empty one for an empty text."""
    return yaml.load(text, _LOADER) or {}  # noqa: S506 (both are safe loaders)


def read_metric(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return {name, goal} by which a trial of a sweep is called the best; keys that the config lacks are missing."""
    metrics = config.get("metrics")
    return (metrics[0] if metrics else config.get("metric")) or {}


def has_template(config: Mapping[str, Any]) -> bool:
    """True for the config of a sweep that was made by this plugin."""
    return any(str(argument).startswith(_TEMPLATE_ARGUMENT) for argument in config.get("command") or ())


def read_template(config: Mapping[str, Any], fixed: Sequence[str] = ()) -> Template:
    """Return the template that a sweep config carries; for a sweep made elsewhere one of plain keys.

    fixed: override texts of whoever joins the sweep; applied first.
    """
    for argument in config.get("command") or ():
        if isinstance(argument, str) and argument.startswith(_TEMPLATE_ARGUMENT):
            own = Template.from_json(argument.removeprefix(_TEMPLATE_ARGUMENT))
            return Template((*fixed, *own.items))
    slots = [Slot(name, name, _form_of(name, spec)) for name, spec in flat_parameters(config)]
    return Template((*fixed, *slots))


def _form_of(name: str, spec: Mapping[str, Any]) -> Form:
    distribution = implied_distribution(name, spec)
    if distribution == "int_uniform":
        return Form.INT
    if "values" in spec or "value" in spec or str(distribution).startswith("q_") or "min" not in spec:
        return Form.JSON
    return Form.FLOAT


def flat_parameters(config: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield (dotted name, parameter) of a sweep config, W&B's nested `parameters` taken apart."""
    yield from _flat(config.get("parameters") or {}, "")


def _flat(parameters: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, spec in parameters.items():
        if "parameters" in spec:
            yield from _flat(spec["parameters"], f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", spec


def flat_args(args: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return claimed values with those of nested parameters under dotted names.

    Only names that the config nests are taken apart: a mapping may also be one value of an ordinary parameter.
    """
    return dict(_flat_args(args, config.get("parameters") or {}, ""))


def _flat_args(args: Mapping[str, Any], parameters: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in args.items():
        nested = parameters.get(name, {}).get("parameters")
        if nested is not None and isinstance(value, Mapping):
            yield from _flat_args(value, nested, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
