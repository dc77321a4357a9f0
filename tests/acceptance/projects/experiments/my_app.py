"""The pattern `+experiment=…`: a file that overrides choices and values of the whole configuration."""

import hydra
from omegaconf import DictConfig


@hydra.main(version_base=None, config_path="conf", config_name="config")
def my_app(cfg: DictConfig) -> dict[str, float]:
    return {"cost": cfg.db.cost * cfg.server.port, "port": cfg.server.port}


if __name__ == "__main__":
    my_app()
