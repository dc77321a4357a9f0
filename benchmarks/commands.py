"""The commands by which trials are run: with this plugin, with Hydra's own means, and with W&B's agents."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from server_load import ENTITY, PROJECT, Connection, create_sweep

from wandb_sweep_server.launch import ServerAddress

APPS = Path(__file__).resolve().parent / "apps"
APP = str(APPS / "app.py")
SLURM = "hydra/launcher=submitit_slurm"

# The command that runs a number of trials.
Command = Callable[[ServerAddress, int], list[str]]


def environment(trial: str, address: ServerAddress) -> dict[str, str]:
    """Return variables for a command, beside those that its kind of trial needs. trial: a module in apps."""
    return {
        **os.environ,
        "TRIAL": trial,
        "PYTHONPATH": str(APPS),  # submitit's jobs don't find what stands beside the script
        "WANDB_BASE_URL": address.url,
        "WANDB_API_KEY": address.api_key,
        "WANDB_PROJECT": PROJECT,
    }


def has_cluster() -> bool:
    """True if jobs can be submitted."""
    return bool(shutil.which("sbatch") and os.environ.get("SLURM_CONF"))


def values(trials: int) -> str:
    """The sweep of so many trials, as Hydra's command line has it."""
    return "x=" + ",".join(f"{number}.0" for number in range(trials))


def hydra(*more: str) -> Command:
    """Hydra's multirun. more: overrides."""
    return lambda _, trials: [sys.executable, APP, "-m", *more, values(trials)]


def plugin(*more: str) -> Command:
    """This plugin. more: overrides."""
    own = ("hydra.sweeper.server=local", f"hydra.sweeper.project={PROJECT}", "hydra.sweeper.metric.name=loss")
    return hydra("hydra/sweeper=wandb", *own, *more)


def cli_agent(address: ServerAddress, trials: int) -> list[str]:
    """One of W&B's command line agents, with a sweep of its own."""
    return [str(Path(sys.executable).with_name("wandb")), "agent", f"{ENTITY}/{PROJECT}/{_grid(address, trials)}"]


def function_agent(address: ServerAddress, trials: int) -> list[str]:
    """W&B's agent that calls a function, with a sweep of its own."""
    return [sys.executable, str(APPS / "function_agent.py"), _grid(address, trials)]


def _grid(address: ServerAddress, trials: int) -> str:
    """The id of a new sweep of so many trials that any of W&B's agents can run."""
    config = {
        "method": "grid",
        "program": APP,
        "metric": {"name": "loss", "goal": "minimize"},
        "parameters": {"x": {"values": [float(number) for number in range(trials)]}},
        "command": ["${env}", sys.executable, "${program}", "${args_no_hyphens}"],
    }

    async def create() -> str:
        connection = Connection(address)
        try:
            return await create_sweep(connection, config)
        finally:
            connection.close()

    return asyncio.run(create())
