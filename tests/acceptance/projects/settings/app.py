"""Resolvers of the app's own, callbacks, a working directory for each job, no log, and directories by overrides."""

import os
from pathlib import Path

import hydra
from omegaconf import DictConfig, OmegaConf

OmegaConf.register_new_resolver("times", lambda a, b: a * b)
OmegaConf.register_new_resolver("first", lambda text: text.split("_")[0], use_cache=True)


@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg: DictConfig) -> float:
    Path("here.txt").write_text(f"{os.environ['LEVEL']} {cfg.size}")
    return float(cfg.size)


if __name__ == "__main__":
    main()
