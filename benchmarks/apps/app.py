"""A Hydra app around a trial: $TRIAL is the module that has it."""

from __future__ import annotations

import importlib
import os

import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig

evaluate = importlib.import_module(os.environ["TRIAL"]).evaluate

ConfigStore.instance().store("config", {"x": 0.0})


@hydra.main(version_base="1.3", config_path=None, config_name="config")
def main(cfg: DictConfig) -> float:
    """One trial."""
    return float(evaluate(cfg.x))


if __name__ == "__main__":
    main()
