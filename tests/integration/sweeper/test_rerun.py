"""The command line that runs the best configuration again, by running it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.sweeper.conftest import Project, Sweep
from tests.integration.sweeper.test_command import command

SWEEP = "hydra/sweeper=wandb"


def config_of(directory: Path) -> Any:
    """The task's config as a run recorded it."""
    return yaml.safe_load((directory / ".hydra" / "config.yaml").read_text())


def again(sweep: Sweep) -> str:
    """The command line that the sweep's report ends with."""
    (line,) = re.findall(r"To run the best configuration again: (.*)", sweep.output)
    return str(line)


def run_in_shell(project: Project, line: str) -> Path:
    """Run a command line in the project's directory; returns the one directory that it made."""
    before = set(project.directory.glob("outputs/*/*"))
    done = subprocess.run(
        ["sh", "-c", line], cwd=project.directory, env=project.env, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    (made,) = set(project.directory.glob("outputs/*/*")) - before
    return made


CASES: dict[str, tuple[str, ...]] = {
    "a script": ("x=1,2", "model=small,wide"),
    "values that need quotes": ("x=1", "y='a b','it\\'s','$HOME','`id`','a,b'", "n=[1,2],{a:1},null"),
    "another config": ("x=1,2", "--config-name", "other"),
    "settings of hydra's own": ("x=1,2", "hydra.job.name=mine", "hydra/job_logging=none"),
    "a launcher": ("x=1,2", "hydra/launcher=submitit_local", "hydra.launcher.timeout_min=5"),
}


@pytest.mark.parametrize("arguments", CASES.values(), ids=list(CASES))
def test_the_command_composes_the_best_trial_s_config(project: Project, arguments: tuple[str, ...]) -> None:
    (project.directory / "conf" / "other.yaml").write_text("defaults:\n  - config\n  - _self_\nlr: 7\n")
    sweep = project.sweep(*arguments)
    made = run_in_shell(project, again(sweep))
    assert config_of(made) == config_of(Path(sweep.results["best_dir"]))
    assert "hydra/sweeper" not in again(sweep)


def test_a_module_is_run_as_a_module(project: Project) -> None:
    package = project.directory / "package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "train.py").write_text((project.directory / "app.py").read_text().replace('"conf"', '"../conf"'))
    done = subprocess.run(
        [sys.executable, "-m", "package.train", "-m", SWEEP, "hydra.sweep.dir=sweep", "x=1,2"],
        cwd=project.directory, env=project.env, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    sweep = Sweep(project.directory / "sweep", done)
    assert " -m package.train x=1" in again(sweep)
    assert config_of(run_in_shell(project, again(sweep))) == config_of(Path(sweep.results["best_dir"]))


@pytest.mark.parametrize("flags", [(), ("-m",)], ids=["by itself", "with -m, too"])
def test_an_app_whose_config_makes_it_a_sweep_is_run_once(project: Project, flags: tuple[str, ...]) -> None:
    """Nothing of the choices is left out here: its config has settings for this sweeper and this launcher."""
    config = project.directory / "conf" / "config.yaml"
    chosen = "  - model: small\n  - override hydra/sweeper: wandb\n"
    settings = "hydra:\n  mode: MULTIRUN\n  sweeper:\n    params: {x: '1,2'}\n  launcher:\n    timeout_min: 5\n"
    config.write_text(config.read_text().replace("  - model: small\n", chosen) + settings)
    done = project.run(*flags, "hydra.sweep.dir=sweep", "hydra/launcher=submitit_local")
    sweep = Sweep(project.directory / "sweep", done)
    assert again(sweep).endswith("x=1 hydra/launcher=submitit_local hydra.mode=RUN")
    assert config_of(run_in_shell(project, again(sweep))) == config_of(Path(sweep.results["best_dir"]))


def test_the_best_configurations_can_be_run_again_from_the_shell(project: Project) -> None:
    sweep = project.sweep("x=1", "y='a b','it\\'s'")
    hydra_sweep = Path(sys.executable).with_name("hydra-sweep")
    made = run_in_shell(project, f'eval "{sys.executable} app.py $({hydra_sweep} best {sweep.directory})"')
    assert config_of(made) == config_of(Path(sweep.results["best_dir"]))
    (project.directory / "best.txt").write_text(command(project, "best", str(sweep.directory), "--top", "2").stdout)
    second = project.sweep("hydra.sweeper.trials=best.txt")
    assert sorted(map(sorted, second.overrides())) == sorted(map(sorted, sweep.overrides()))
