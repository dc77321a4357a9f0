"""The Hydra plugin. Hydra imports this module at the start of every Hydra app: everything else is imported on use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hydra.plugins.sweeper import Sweeper

if TYPE_CHECKING:
    from hydra.types import HydraContext, TaskFunction
    from omegaconf import DictConfig


class WandbSweeper(Sweeper):
    """`hydra/sweeper=wandb`: a multirun as a W&B sweep, pulled by agents through the launcher in use."""

    def __init__(self, **_settings: Any) -> None:
        """_settings: config.WandbSweeperConf's fields; read from the config, where they are resolved as a whole."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """See hydra.plugins.sweeper.Sweeper.setup."""
        self.hydra_context = hydra_context
        self.task_function = task_function
        self.config = config

    def sweep(self, arguments: list[str]) -> Any:
        """Run the sweep; returns a _results.SweepResults, or None if it isn't waited for.

        arguments: overrides from the command line. Errors: _errors.SweepError, and Hydra's own for overrides that
        don't compose.
        """
        from ._garbage import rarely_searched

        with rarely_searched():
            from ._run_sweep import run_sweep

        assert self.hydra_context is not None
        assert self.config is not None
        return run_sweep(self.hydra_context, self.task_function, self.config, arguments)
