"""Composing trials' configs without doing again what is the same for all of them.

Hydra composes in two steps: the defaults list, which the choices of config groups decide, and then the other
overrides on top of what it gave. The first takes 30 ms, the second one. So the first is done once for each choice, by
Hydra itself, and forked trials find the result in their memory. Where an override is anything but a plain choice or
value, Hydra does it all.

The choices that all trials have in common, Hydra has made before any sweeper is asked: see Composer._from_master.

hydra.sweeper.trials isn't in what is composed, else each trial's .hydra/hydra.yaml would list all trials.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import MISSING, DictConfig, OmegaConf, open_dict

from ._job_config import Held, JobConfig
from ._pickling import copied

# Each takes some 500 kB.
_MOST_BASES = 60


@dataclass(frozen=True, eq=False, repr=False)
class _Plan:
    """overrides: all of a trial's. choices: the texts of those that choose from config groups. values: the others."""

    overrides: Sequence[Override]
    choices: tuple[str, ...]
    values: Sequence[Override]


class Composer:
    """Composes the configs of one sweep's trials, exactly as loader.load_sweep_config(master, overrides) does.

    master: the sweep's own config.
    """

    def __init__(self, loader: ConfigLoader, master: DictConfig) -> None:
        self._loader = loader
        self._master = master
        self._bases: dict[tuple[str, ...], JobConfig] = {}
        self._latest_bases: list[tuple[str, ...]] = []
        self._groups: dict[str, bool] = {}
        self._latest: tuple[tuple[str, ...], _Plan | None] = ((), None)

    def prepare(self, overrides: Sequence[str]) -> DictConfig | None:
        """Do beforehand what is the same for all trials with such overrides. Errors are left to `compose`.

        Returns what was composed, None if nothing was. It stays the composer's own.
        """
        try:
            plan = self._plan(overrides)
            if plan is None or plan.choices in self._bases or len(self._bases) >= _MOST_BASES:
                return None
            base = self._from_master(plan) or self._loader.load_sweep_config(self._master, list(plan.choices))
        except Exception:  # noqa: BLE001 (the trial's failure, which it will report in Hydra's words)
            return None
        self._add(plan.choices, JobConfig(_without_trials(base)))
        return base

    def _add(self, choices: tuple[str, ...], base: JobConfig) -> None:
        self._bases[choices] = base
        self._latest_bases.append(choices)

    def prepare_further(self) -> None:
        """Do beforehand what later trials gain by, and the first one needn't wait for."""
        while self._latest_bases:
            choices = self._latest_bases.pop()
            config = self._bases[choices].config
            OmegaConf.copy_cache(from_config=self._master, to_config=config)
            with contextlib.suppress(Exception):  # as Hydra will say in the trial
                self._bases[choices] = JobConfig(config, Held.of(config))

    def _from_master(self, plan: _Plan) -> DictConfig | None:
        """The base of such trials if it is the sweep's own config, but for what `_on_top` sets anew; else None.

        The sweep's own config was composed of the same defaults list, if no choice is swept. Values that are swept
        are left out of it. Those that aren't, are set already; to set them once more changes nothing, unless they are
        merged, added, or set by parts. Compared with Hydra 1.3.8 by test_composing.py.
        """
        hydra = self._master.hydra
        # Hydra lets a multirun lack a choice, but none of its jobs. And callbacks may have changed the config.
        if MISSING in hydra.runtime.choices.values() or hydra.callbacks or hydra.searchpath:
            return None
        told, keys = list(hydra.overrides.task), {override.key_or_group for override in plan.values}
        if not all(map(_is_set_only, plan.values)) or len(keys) < len(plan.values) or _overlap(keys):
            return None
        is_known = all(line in plan.choices or line.partition("=")[0] in keys for line in told)
        if not is_known or not set(plan.choices) <= set(told):
            return None
        sources = self._loader.get_sources()
        if len(sources) != len(hydra.runtime.config_sources):
            return None
        config = copied(self._master)
        for known, source in zip(config.hydra.runtime.config_sources, sources, strict=True):
            known.path = source.path  # trials have copies of the config files
        return config

    def take_over(self, other: Composer) -> None:
        """Take what another one has prepared of the same config, with config files at other places.

        The other one is of no use afterwards.
        """
        places = zip(other._loader.get_sources(), self._loader.get_sources(), strict=True)
        moved = {before.path: now.path for before, now in places}
        for choices, base in other._bases.items():
            for source in base.config.hydra.runtime.config_sources:
                source.path = moved.get(source.path, source.path)
            self._add(choices, JobConfig(base.config))
        self._groups |= other._groups

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """Return a trial's config. Errors: Hydra's."""
        return self._compose(overrides, lambda choices: JobConfig(copied(self._bases[choices].config))).config

    def compose_last(self, overrides: Sequence[str]) -> JobConfig:
        """Return the config of the last trial that this process composes: without a copy. Errors: Hydra's."""
        return self._compose(overrides, self._bases.pop)

    def _compose(self, overrides: Sequence[str], base: Callable[[tuple[str, ...]], JobConfig]) -> JobConfig:
        """base: returns one that may be changed, of choices that were prepared."""
        try:
            plan = self._plan(overrides)
            if plan is not None and plan.choices in self._bases:
                job = base(plan.choices)
                # As Hydra does: a time that the sweep has asked for since is the same in all its trials.
                OmegaConf.copy_cache(from_config=self._master, to_config=job.config)
                return _on_top(job, plan)
        except Exception:  # noqa: BLE001, S110 (Hydra says it better)
            pass
        return JobConfig(_without_trials(self._loader.load_sweep_config(self._master, list(overrides))))

    def _plan(self, overrides: Sequence[str]) -> _Plan | None:
        """Tell choices from values; None if there are other things among the overrides."""
        # An agent asks to prepare for a trial, and then the trial's process, which inherits this, to compose.
        if self._latest[0] != tuple(overrides):
            self._latest = tuple(overrides), self._read(overrides)
        return self._latest[1]

    def _read(self, overrides: Sequence[str]) -> _Plan | None:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
        choices, values = [], []
        for override in parsed:
            key = override.key_or_group
            is_plain = not override.is_delete() and not override.is_sweep_override() and override.package is None
            if not is_plain or re.match(r"hydra($|[./@])", key):
                return None
            if isinstance(override.value(), dict) or not self.is_group(key):
                values.append(override)
            else:
                choices.append(str(override.input_line))
        return _Plan(parsed, tuple(choices), values)

    def is_group(self, key: str) -> bool:
        """True if a key without package and signs is a config group, and not a value."""
        if key not in self._groups:
            self._groups[key] = any(s.available() and s.is_group(key) for s in self._loader.get_sources()) or (
                self._is_group_on_searchpath(key)
            )
        return self._groups[key]

    def _is_group_on_searchpath(self, key: str) -> bool:
        hydra = self._master.hydra
        if not hydra.searchpath:
            return False  # to be told so by Hydra takes 5 ms
        return bool(self._loader.get_group_options(key, None, hydra.job.config_name, list(hydra.overrides.hydra)))


def _on_top(base: JobConfig, plan: _Plan) -> JobConfig:
    """The rest of a composition: what Hydra does with values, and what it notes of all overrides."""
    for override in plan.values:
        _apply(override, base.config)
    dirname = _dirname(plan.overrides, base.config.hydra.job.config.override_dirname)

    def note(job: Any) -> None:
        for key in job.env_copy:
            job.env_set[key] = os.environ[key]
        job.override_dirname = dirname

    lines, cwd = [override.input_line for override in plan.overrides], os.getcwd()
    base.change_hydra("overrides", lambda overrides: setattr(overrides, "task", lines))
    base.change_hydra("job", note)
    base.change_hydra("runtime", lambda runtime: setattr(runtime, "cwd", cwd))
    return base


def _without_trials(config: DictConfig) -> DictConfig:
    """hydra.sweeper.trials is taken out of it."""
    sweeper = config.hydra.sweeper
    if OmegaConf.is_list(sweeper.get("trials")):
        with open_dict(sweeper):
            sweeper.trials = None
    return config


def _is_set_only(override: Override) -> bool:
    return not (override.is_add() or override.is_force_add() or isinstance(override.value(), dict))


def _overlap(keys: Collection[str]) -> bool:
    """True if one of them is a part of another one."""
    return any(key[:end] in keys for key in keys for end, letter in enumerate(key) if letter == ".")


def _apply(override: Override, config: DictConfig) -> None:
    key, value = override.key_or_group, override.value()
    if override.is_add():
        if OmegaConf.select(config, key, throw_on_missing=False) is not None and not isinstance(value, dict | list):
            raise ValueError(f"{key} is there already")
        OmegaConf.update(config, key, value, merge=True, force_add=True)
    else:
        OmegaConf.update(config, key, value, merge=True, force_add=override.is_force_add())


def _dirname(overrides: Sequence[Override], how: Any) -> str:
    """hydra.job.override_dirname. how: hydra.job.config.override_dirname."""
    lines = sorted(str(o.input_line) for o in overrides if o.key_or_group not in how.exclude_keys)
    return re.sub("[=]", how.kv_sep, how.item_sep.join(lines))
