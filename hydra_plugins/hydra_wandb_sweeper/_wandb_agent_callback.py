"""The Hydra callback with which trials that W&B's own agent runs record their results."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml
from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from ._outcome import Outcome
from ._wandb_run import beside_swept, open_run, record_and_finish, resolved_config, use_run_config, uses_wandb


class RunCallback(Callback):
    """Opens the trial's W&B run before the task and records the task's result after it.

    metric_name: under which a number that the task returns is recorded.
    """

    def __init__(self, metric_name: str) -> None:
        self._metric_name = metric_name

    def on_job_start(self, config: DictConfig, *, task_function: Any, **kwargs: Any) -> None:
        """Called by Hydra right before the task."""
        opens_run = uses_wandb(task_function)  # before this class imports wandb
        os.environ["WANDB_DIR"] = config.hydra.runtime.output_dir
        # W&B's agent has put the swept values there.
        swept = yaml.safe_load(Path(os.environ["WANDB_SWEEP_PARAM_PATH"]).read_text(encoding="utf-8"))
        path = Path(config.hydra.runtime.output_dir) / "wandb" / "hydra-config.yaml"
        use_run_config(path, beside_swept(resolved_config(config), swept))
        if not opens_run:
            open_run()

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Called by Hydra right after the task, whether it returned or raised."""
        outcome = Outcome()
        outcome.take(job_return, self._metric_name)
        record_and_finish(outcome.metrics, outcome.error_line, outcome.exit_code, lambda: None, is_first=True)
