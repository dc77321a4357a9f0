"""A search that stands in the config, over a group that has to be chosen; the result is for the script's callers."""

from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf


@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg: DictConfig) -> dict[str, Any]:
    print(OmegaConf.to_yaml(cfg))
    return {"storage": cfg.storage, "written": [f"{cfg.storage.name}-{n}.txt" for n in range(cfg.storage.copies)]}


if __name__ == "__main__":
    main()
