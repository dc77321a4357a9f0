"""What Hydra apps that don't use this plugin pay for it: Hydra imports it at the start of every one of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

APP = """
import sys
import hydra
from hydra.core.plugins import Plugins

@hydra.main(version_base="1.3", config_path=None)
def main(cfg):
    names = [c.__name__ for c in Plugins.instance().discover()]
    print("PLUGIN", "WandbSweeper" in names)
    print("MODULES", *sys.modules)

main()
"""
OWN = {
    "hydra_plugins.hydra_wandb_sweeper",
    "hydra_plugins.hydra_wandb_sweeper.config",
    "hydra_plugins.hydra_wandb_sweeper.wandb_sweeper",
}


def modules_of(code: str, directory: Path) -> tuple[set[str], str]:
    done = subprocess.run(
        [sys.executable, "-c", code, "hydra.output_subdir=null", "hydra.run.dir=."],
        capture_output=True,
        text=True,
        check=True,
        cwd=directory,
    )
    line = next(line for line in done.stdout.splitlines() if line.startswith("MODULES "))
    return set(line.split()[1:]), done.stdout


def test_an_unrelated_app_imports_three_light_modules_of_this_plugin(tmp_path: Path) -> None:
    modules, output = modules_of(APP, tmp_path)
    assert "PLUGIN True" in output
    assert {name for name in modules if name.startswith(("hydra_plugins.hydra_wandb_sweeper", "wandb_sweep"))} == OWN


def test_what_these_import_hydra_has_imported_already(tmp_path: Path) -> None:
    code = (
        "import sys, hydra, hydra.main, hydra.plugins.sweeper, hydra.core.config_store\n"
        "before = set(sys.modules)\n"
        "import hydra_plugins.hydra_wandb_sweeper.wandb_sweeper, hydra_plugins.hydra_wandb_sweeper.config\n"
        "print('MODULES', *(set(sys.modules) - before))"
    )
    modules, _ = modules_of(code, tmp_path)
    assert modules - {"hydra_plugins"} == OWN


def test_what_draws_a_display_is_not_imported_before_there_is_one(tmp_path: Path) -> None:
    """The first trial would wait for it."""
    code = (
        "import sys\n"
        "import hydra_plugins.hydra_wandb_sweeper._run_sweep, hydra_plugins.hydra_wandb_sweeper._keeper\n"
        "import hydra_plugins.hydra_wandb_sweeper._commands, hydra_plugins.hydra_wandb_sweeper._cli\n"
        "print('MODULES', *sys.modules)"
    )
    modules, _ = modules_of(code, tmp_path)
    assert "hydra_plugins.hydra_wandb_sweeper._terminal" in modules
    assert not {name for name in modules if name.partition(".")[0] == "rich"}
