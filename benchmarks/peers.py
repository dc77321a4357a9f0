"""What runs trials one after another, each as a command: this plugin, and what else there is."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from commands import APP, APPS, SLURM, Command, cli_agent, function_agent, has_cluster, hydra, plugin

from wandb_sweep_server.launch import ServerAddress

REPO = Path(__file__).resolve().parent.parent
# Made by `make bench-venvs`: hydra-optuna-sweeper and this project want different versions of Optuna.
OPTUNA_PYTHON = REPO / ".venv-bench-optuna" / "bin" / "python"
OPTUNA_MODULE = "hydra_plugins.hydra_optuna_sweeper.optuna_sweeper"


@dataclass(frozen=True)
class Peer:
    """Something that runs trials. command: for a number of them.

    logs, returns, heavy: whether it is measured with trials that log, with those that only return a number, and again
    with heavy imports. most_trials: of one sweep, where seconds lie between them; None if there is no limit. missing:
    why it can't be measured here, None if it can.
    """

    name: str
    command: Command
    logs: bool = True
    returns: bool = True
    heavy: bool = True
    most_trials: int | None = None
    missing: str | None = None


SDK_AT_ONCE = "hydra.sweeper.sdk_after_s=0"
FORK = "this plugin, fork"
LOOP = "plain loop in one process"
WANDB_AGENT = "wandb agent (CLI)"


def peers() -> list[Peer]:
    """All that are compared, the floor first."""
    no_slurm = None if has_cluster() else "there is no SLURM cluster"
    slurm = (SLURM, "hydra.launcher.timeout_min=20")
    return [
        Peer(LOOP, _loop),
        Peer(FORK, one_agent("fork")),
        Peer("this plugin, fork, W&B's SDK from the start", one_agent("fork", SDK_AT_ONCE), logs=False, heavy=False),
        Peer("this plugin, spawn", one_agent("spawn"), most_trials=4),
        Peer("this plugin, none", one_agent("none"), heavy=False),
        Peer("this plugin, fork, in a SLURM job", one_agent("fork", *slurm), heavy=False, missing=no_slurm),
        Peer("Hydra's BasicSweeper", hydra()),
        Peer("hydra-optuna-sweeper", _optuna, missing=_no_optuna_sweeper()),
        Peer(WANDB_AGENT, cli_agent, returns=False, most_trials=2),
        Peer("wandb.agent(function)", function_agent, returns=False, most_trials=2),
        Peer(
            "a SLURM job per trial (array)",
            hydra(*slurm, "hydra.launcher.array_parallelism=1"),
            most_trials=2,
            missing=no_slurm,
        ),
    ]


def one_agent(isolation: str, *more: str) -> Command:
    """This plugin with one agent. more: overrides."""
    return plugin("hydra.sweeper.agents=1", f"hydra.sweeper.isolation={isolation}", *more)


def _loop(_: ServerAddress, trials: int) -> list[str]:
    return [sys.executable, str(APPS / "loop.py"), str(trials)]


def _optuna(_: ServerAddress, trials: int) -> list[str]:
    own = [f"hydra.sweeper.n_trials={trials}", "hydra.sweeper.n_jobs=1", "hydra.sweeper.direction=minimize"]
    return [
        str(OPTUNA_PYTHON),
        APP,
        "-m",
        "hydra/sweeper=optuna",
        "hydra/sweeper/sampler=tpe",
        *own,
        "x=interval(0.0,1.0)",
    ]


def _no_optuna_sweeper() -> str | None:
    if not OPTUNA_PYTHON.exists():
        return "`make bench-venvs` was not run"
    done = subprocess.run([str(OPTUNA_PYTHON), "-c", f"import {OPTUNA_MODULE}"], capture_output=True, text=True)
    return None if done.returncode == 0 else f"it can't be imported: {done.stderr.strip().splitlines()[-1]}"
