"""Helpers of the template: instantiating lists of things, hyperparameters for the loggers, the optimised metric."""

import logging
from collections.abc import Callable
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf

log = logging.getLogger(__name__)


def instantiate_all(cfg: DictConfig | None) -> list[Any]:
    return [hydra.utils.instantiate(item) for item in (cfg or {}).values() if "_target_" in item]


def log_hyperparameters(cfg: DictConfig, loggers: list[Any]) -> None:
    plain = OmegaConf.to_container(cfg, resolve=True)
    params = {name: plain[name] for name in ("model", "data", "trainer", "callbacks", "task_name", "tags", "seed")}
    for logger in loggers:
        logger.log_hyperparams(params)


def task_wrapper(task: Callable[..., Any]) -> Callable[..., Any]:
    def wrap(cfg: DictConfig) -> Any:
        try:
            return task(cfg=cfg)
        except Exception:
            log.exception("")
            raise
        finally:
            log.info("Output dir: %s", cfg.paths.output_dir)
            from importlib.util import find_spec

            if find_spec("wandb"):
                import wandb

                if wandb.run:
                    wandb.finish()

    return wrap


def get_metric_value(metric_dict: dict[str, Any], metric_name: str | None) -> float | None:
    if not metric_name:
        return None
    if metric_name not in metric_dict:
        raise ValueError(f"Metric value not found! <metric_name={metric_name}>")
    return metric_dict[metric_name].item()
