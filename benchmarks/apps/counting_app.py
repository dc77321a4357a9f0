"""A Hydra app around the trial that does nothing."""

from __future__ import annotations

import hydra
from counting import evaluate
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig

ConfigStore.instance().store("config", {"x": 0.0})


@hydra.main(version_base="1.3", config_path=None, config_name="config")
def main(cfg: DictConfig) -> float:
    """One trial."""
    return evaluate(cfg.x)


if __name__ == "__main__":
    main()
