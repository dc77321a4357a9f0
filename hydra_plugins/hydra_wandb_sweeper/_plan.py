"""Everything about a sweep that can be decided before it exists."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf

from ._client import SweepClient, SweepRef
from ._composing import Composer
from ._dispatch import LauncherTraits, job_count, launcher_traits
from ._errors import SettingError
from ._join import fixed_overrides
from ._recognise import recognise
from ._search_space import SearchSpace, build_search_space
from ._server import ServerRef, choose_server, server_to_join, start_if_local
from ._settings import Settings, SweepPath, read_settings
from ._sweep_config import Program, make_sweep_config, read_template
from ._template import Template
from ._validate import validate

if TYPE_CHECKING:
    from ._trial_list import TrialLine

log = logging.getLogger(__name__)

# How long the supervisor's own calls wait for a server that doesn't answer: somebody is watching.
START_PATIENCE_S = 60.0


@dataclass(frozen=True, eq=False, repr=False)
class Plan:
    """A checked sweep, before anything was created.

    composer: has composed a first trial. existing: the sweep to join, None for a new one.
    """

    settings: Settings
    server: ServerRef
    config: Mapping[str, Any]
    template: Template
    expected_trials: int | None
    traits: LauncherTraits
    jobs: int
    composer: Composer
    existing: SweepRef | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Basis:
    """What a plan is made on."""

    settings: Settings
    traits: LauncherTraits
    server: ServerRef


def read_basis(config: DictConfig) -> Basis:
    """Read settings, and tell launcher and server. Errors: SettingError."""
    settings = read_settings(
        _plain_settings(config.hydra.sweeper), job_name=config.hydra.job.name, load_sweep_file=load_yaml
    )
    traits = launcher_traits(config)
    server = recognise(server_meant(settings, Path(config.hydra.runtime.cwd)))
    check_server_job(settings, server, traits)
    return Basis(settings, traits, server)


def server_meant(settings: Settings, project_dir: Path) -> ServerRef:
    """Return the server of the sweep to join where its URL names it, else the one that the setting means.

    project_dir: as of choose_server. Errors: SettingError.
    """
    if settings.join_url is not None:
        return server_to_join(settings.join_url, settings.server, project_dir)
    return choose_server(settings.server, project_dir)


def make_plan(basis: Basis, hydra_context: HydraContext, config: DictConfig, arguments: Sequence[str]) -> Plan:
    """Check everything that can be checked before something is created.

    Errors: SettingError, SearchSpaceError, and Hydra's own for overrides that don't compose.
    """
    settings, traits, server = basis.settings, basis.traits, basis.server
    loader = hydra_context.config_loader
    if settings.join is not None:
        job_count(settings, traits, None)  # contradictions first: what follows talks to the server
        return _plan_join(settings, settings.join, server, traits, hydra_context, config, arguments)
    space = _search_space(settings, hydra_context, arguments)
    for warning in space.warnings:
        log.warning("%s", warning)
    sweep_config = make_sweep_config(settings, space, _program(config))
    check_shuffle(settings, server)
    check_metrics(sweep_config, server)
    template = read_template(sweep_config)
    expected = _expected_trials(sweep_config, space)
    jobs = job_count(settings, traits, expected)
    composer = validate(loader, config, template, sweep_config)
    return Plan(settings, server, sweep_config, template, expected, traits, jobs, composer)


def _plain_settings(sweeper: DictConfig) -> dict[str, Any]:
    """Return hydra.sweeper as plain containers."""
    raw = {str(name): sweeper[name] for name in sweeper}
    # An interpolation in a trial's overrides is the trial's: it means what it would on the trial's command line.
    return {
        name: OmegaConf.to_container(value, resolve=name != "trials") if OmegaConf.is_config(value) else value
        for name, value in raw.items()
    }


def _search_space(settings: Settings, hydra_context: HydraContext, arguments: Sequence[str]) -> SearchSpace:
    trials: tuple[TrialLine, ...] = ()
    if settings.trials is not None:
        from ._trial_list import read_trials

        trials = read_trials(settings.trials, hydra_context.config_loader)
    return build_search_space(
        sweep_file_parameters=settings.sweep_file_parameters,
        params=settings.params,
        arguments=arguments,
        config_loader=hydra_context.config_loader,
        trials=trials,
        seed=settings.seed,
    )


def check_shuffle(settings: Settings, server: ServerRef) -> None:
    """Errors: SettingError if a server is to shuffle a grid that can't."""
    if settings.shuffle and not server.is_embedded:
        raise SettingError(
            "shuffle",
            True,
            f"is for the embedded server, but the sweep is recorded at {server.place}, which goes through a grid in "
            "order; write shuffle(…) around the values of single parameters, or set hydra.sweeper.server=local",
        )


def check_metrics(sweep_config: Mapping[str, Any], server: ServerRef) -> None:
    """Errors: SettingError if there are several objectives and nobody who searches by them."""
    if "metrics" in sweep_config and not (server.is_embedded and sweep_config["method"] == "bayes"):
        raise SettingError(
            "method",
            sweep_config["method"],
            f"has no use for the sweep file's `metrics` at {server.place}; set hydra.sweeper.method=bayes and "
            "hydra.sweeper.server=local, or leave all but one of them out and call it `metric`",
        )


def check_server_job(settings: Settings, server: ServerRef, traits: LauncherTraits) -> None:
    """Errors: SettingError if a job is to host a server that can't be hosted, or can't be submitted."""
    if not settings.server_job:
        return
    if not server.is_local:
        raise SettingError(
            "server_job",
            True,
            f"is for the embedded server, but the sweep is recorded at {server.place}; leave it out, or set "
            "hydra.sweeper.server=local",
        )
    if traits.kind != "submitit_slurm":
        raise SettingError(
            "server_job",
            True,
            f"needs SLURM, but the launcher is '{traits.kind}'; leave it out, or use hydra/launcher=submitit_slurm",
        )


def _expected_trials(sweep_config: Mapping[str, Any], space: SearchSpace) -> int | None:
    cap: int | None = sweep_config.get("run_cap")
    size = space.grid_size if sweep_config["method"] == "grid" else None
    return min((n for n in (cap, size) if n is not None), default=None)


def _plan_join(
    settings: Settings,
    path: SweepPath,
    server: ServerRef,
    traits: LauncherTraits,
    hydra_context: HydraContext,
    config: DictConfig,
    arguments: Sequence[str],
) -> Plan:
    """Plan to work on a sweep that exists; overrides of other keys are fixed for all trials that run for it here."""
    start_if_local(server, "127.0.0.1")
    client = SweepClient(server.open, patience_s=START_PATIENCE_S)
    ref = SweepRef(
        path.entity or settings.entity or client.default_entity(), path.project or settings.project, path.sweep_id
    )
    info = client.get_sweep(ref)
    if info is None:
        raise SettingError(
            "sweep_id", ref.path, f"there is no such sweep on {server.place}; check entity and project"
        )
    if info.state not in ("PENDING", "RUNNING", "PAUSED"):
        raise SettingError(
            "sweep_id",
            ref.path,
            f"the sweep is {info.state.lower()}, and nothing is left to run; leave sweep_id out to make another one",
        )
    space = _search_space(settings, hydra_context, arguments)
    template = read_template(info.config, fixed_overrides(settings, space, info.config))
    composer = validate(hydra_context.config_loader, config, template, info.config)
    jobs = job_count(settings, traits, None)
    return Plan(settings, server, info.config, template, None, traits, jobs, composer, existing=ref)


def load_yaml(path: Path) -> Mapping[str, Any]:
    # OmegaConf's loader reads 1e-3 as a number; PyYAML's reads it as a string.
    loaded = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    return {str(k): v for k, v in loaded.items()} if isinstance(loaded, dict) else {}


def _program(config: DictConfig) -> Program:
    """How this app was started, for W&B's own agent to start it again."""
    flags = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    flags.add_argument("--config-path", "-cp")
    flags.add_argument("--config-dir", "-cd")
    flags.add_argument("--config-name", "-cn")
    given, _ = flags.parse_known_args(sys.argv[1:])
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    # Which sweeper and launcher are chosen stays: settings of theirs in the app's config fit no others.
    own = ("hydra.sweeper", "hydra.launcher", "hydra.mode")
    # Unresolved: `hydra.sweep.subdir=${hydra.job.num}` means something in a trial only.
    given_overrides = OmegaConf.to_container(config.hydra.overrides.hydra, resolve=False)
    assert isinstance(given_overrides, list)
    overrides = [str(o) for o in given_overrides if not str(o).lstrip("+~").startswith(own)]
    return Program(
        script=_relative(sys.argv[0], Path(config.hydra.runtime.cwd)),
        module=spec.name if spec is not None else None,
        config_name=given.config_name,
        config_path=given.config_path,
        config_dir=given.config_dir,
        hydra_overrides=tuple(overrides),
    )


def _relative(script: str, cwd: Path) -> str:
    path = Path(script).absolute()
    return str(path.relative_to(cwd)) if path.is_relative_to(cwd) else str(path)
