"""What an agent does once, before it forks its trials, so that none of them has to do it."""

from __future__ import annotations

import codecs
import contextlib
import gc
import platform
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from ._composing import Composer
from ._config_text import config_text
from ._errors import SweepError
from ._ledger import SweepRecord, Trial
from ._trial import TaskContext, overrides_of, records_directly


def warm_up(context: TaskContext, sweep: SweepRecord) -> None:
    """Import and gather what every forked trial needs at its beginning.

    Starts neither a thread nor W&B's service process.
    """
    _prepare(context, sweep, sample_args(sweep.parameters))
    if not gather_if_needed(context, sweep):
        import wandb  # noqa: F401 (half a second)

        from . import _sdk_run  # noqa: F401

        # Each run's metadata has it. Python asks a command for it, once per process, and forked trials know it then.
        platform.uname().processor  # noqa: B018 (found out by being asked for)
        if sweep.server.is_embedded:
            context.packages  # noqa: B018 (computed by being asked for)
    # What is there now stays: trials needn't look through it for garbage, nor copy its pages by doing so.
    gc.freeze()


def prepare_trial(context: TaskContext, sweep: SweepRecord, trial: Trial) -> None:
    """Compose what a trial has in common with others of the same choices, unless that has been done."""
    _prepare(context, sweep, trial.args)


def _prepare(context: TaskContext, sweep: SweepRecord, args: Mapping[str, Any]) -> None:
    try:
        overrides = overrides_of(sweep, args)
    except SweepError:  # it has been edited; its trials say so
        return
    compose_ahead(context.composer, overrides)


def compose_ahead(composer: Composer, overrides: Sequence[str]) -> None:
    """Have composed, and know how to write, what forked trials with such overrides have in common."""
    config = composer.prepare(overrides)
    if config is not None:
        with contextlib.suppress(Exception):  # as Hydra will say when a trial writes it
            config_text(config)


def prepare_for_later(context: TaskContext, sweep: SweepRecord) -> None:
    """Have ready what trials that are forked later inherit, and the first one needn't wait for."""
    gather_for_later(context, sweep)
    context.composer.prepare_further()
    codecs.lookup("ascii")  # a module, which HTTP has need of
    if "wandb" in sys.modules:
        _make_settings()


def gather_for_later(context: TaskContext, sweep: SweepRecord) -> None:
    """Have ready, once, what the first trial needn't wait for: it asks for it at its end, or by itself."""
    if records_directly(context, sweep):
        context.packages  # noqa: B018 (computed by being asked for, once)
    else:
        context.git  # noqa: B018 (as above)


@cache
def _make_settings() -> None:
    """What W&B's settings compile when they are made for the first time, is known then."""
    import wandb

    wandb.Settings(base_url="http://localhost")


def gather_if_needed(context: TaskContext, sweep: SweepRecord) -> bool:
    """Have what trials record of their agent's machine ready, where that isn't left to W&B's SDK; False if it is."""
    return records_directly(context, sweep) and bool(context.facts)


def sample_args(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments as a trial might have them. parameters: of the sweep config."""
    sample: dict[str, Any] = {}
    for name, spec in parameters.items():
        if "parameters" in spec:
            sample[name] = sample_args(spec["parameters"])
        elif spec.get("values"):
            sample[name] = spec["values"][0]
        else:
            sample[name] = next((spec[key] for key in ("value", "min", "mu") if key in spec), None)
    return sample
