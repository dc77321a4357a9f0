"""A packaged app with its configuration inside the package, started by `python -m shop.main`."""

import hydra
from hydra.utils import instantiate
from omegaconf import DictConfig


@hydra.main(version_base="1.2", config_path="conf", config_name="config")
def main(cfg: DictConfig) -> float:
    basket = instantiate(cfg.basket)
    return basket.price(cfg.rebate)


if __name__ == "__main__":
    main()
