"""Config groups, packages, nested groups and a defaults list, as in Hydra's tutorial."""

import logging

import hydra
from omegaconf import DictConfig, OmegaConf

log = logging.getLogger(__name__)


@hydra.main(version_base=None, config_path="conf", config_name="config")
def my_app(cfg: DictConfig) -> None:
    log.info("connecting to %s", cfg.db.driver)
    print(OmegaConf.to_yaml(cfg))


if __name__ == "__main__":
    my_app()
