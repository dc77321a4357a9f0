"""The entry point, as templates for Lightning have it."""

import os
import sys
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig

# What rootutils.setup_root(…, indicator=".project-root", pythonpath=True) does.
root = next(parent for parent in Path(__file__).resolve().parents if (parent / ".project-root").exists())
os.environ["PROJECT_ROOT"] = str(root)
sys.path.insert(0, str(root))

from src.utils import get_metric_value, instantiate_all, log_hyperparameters, task_wrapper  # noqa: E402


@task_wrapper
def train(cfg: DictConfig) -> tuple[dict[str, Any], dict[str, Any]]:
    datamodule = hydra.utils.instantiate(cfg.data)
    model = hydra.utils.instantiate(cfg.model)
    callbacks = instantiate_all(cfg.get("callbacks"))
    logger = instantiate_all(cfg.get("logger"))
    trainer = hydra.utils.instantiate(cfg.trainer, callbacks=callbacks, logger=logger)
    if logger:
        log_hyperparameters(cfg, logger)
    if cfg.get("train"):
        trainer.fit(model=model, datamodule=datamodule, ckpt_path=cfg.get("ckpt_path"))
    return dict(trainer.callback_metrics), {"model": model, "trainer": trainer}


@hydra.main(version_base="1.3", config_path="../configs", config_name="train.yaml")
def main(cfg: DictConfig) -> float | None:
    metric_dict, _ = train(cfg)
    return get_metric_value(metric_dict=metric_dict, metric_name=cfg.get("optimized_metric"))


if __name__ == "__main__":
    main()
