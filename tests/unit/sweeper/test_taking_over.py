"""What was composed to check a sweep serves its trials too, although they read copies of the config files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.singleton import Singleton
from hydra.types import HydraContext
from omegaconf import DictConfig

from hydra_plugins.hydra_wandb_sweeper._composing import Composer
from hydra_plugins.hydra_wandb_sweeper._snapshot import snapshot_configs
from tests.unit.sweeper.test_composing import CONFIG, composed

TRIALS = [[], ["x=1"], ["x=2", "lr=0.5"], ["+new=3"], ["model=wide", "x=3"], ["~lr"], ["data@train=two"]]


@pytest.fixture
def project(tmp_path: Path) -> Iterator[tuple[DictConfig, Path]]:
    """A multirun's config, and a directory that holds its config files."""
    directory = tmp_path / "conf"
    for name, text in CONFIG.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text.replace("${now:%f}", "noon"))
    before = Singleton.get_state()
    with initialize_config_dir(str(directory), version_base="1.3", job_name="app"):
        yield compose("config", ["hydra.verbose=false"], return_hydra_config=True), directory
    Singleton.set_state(before)


@pytest.mark.parametrize("checked", [["x=0"], ["model=wide"]], ids=["values", "a choice"])
def test_trials_are_composed_as_from_the_copies(
    project: tuple[DictConfig, Path], tmp_path: Path, checked: list[str]
) -> None:
    master, directory = project
    loader = GlobalHydra.instance().config_loader()
    first = Composer(loader, master)
    first.prepare(checked)
    context, config = snapshot_configs(HydraContext(loader, None), master, tmp_path / "sweep")  # type: ignore[arg-type]
    assert config is master
    composer = Composer(context.config_loader, config)
    composer.take_over(first)
    for trial in TRIALS:
        by_hydra = context.config_loader.load_sweep_config(master, list(trial))
        assert composed(composer.compose(trial)) == composed(by_hydra), trial
        assert str(directory) not in str(by_hydra.hydra.runtime.config_sources)


def test_what_was_taken_over_needs_no_config_files(project: tuple[DictConfig, Path], tmp_path: Path) -> None:
    master, _ = project
    loader = GlobalHydra.instance().config_loader()
    first = Composer(loader, master)
    first.prepare(["x=0"])
    context, config = snapshot_configs(HydraContext(loader, None), master, tmp_path / "sweep")  # type: ignore[arg-type]
    composer = Composer(context.config_loader, config)
    composer.take_over(first)
    for file in (tmp_path / "sweep").rglob("*.yaml"):
        file.unlink()
    assert composer.compose(["x=5"]).x == 5
