"""Structured configs in groups, with enumerations, lists and missing values; no file of configuration at all."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, OmegaConf


class Mode(Enum):
    FAST = 1
    EXACT = 2


@dataclass
class Db:
    driver: str = MISSING
    host: str = "localhost"
    port: int = 3306


@dataclass
class Mysql(Db):
    driver: str = "mysql"


@dataclass
class Postgres(Db):
    driver: str = "postgresql"
    port: int = 5432
    timeout: int = 10


@dataclass
class Config:
    defaults: list[Any] = field(default_factory=lambda: [{"db": "mysql"}, "_self_"])
    db: Db = MISSING
    mode: Mode = Mode.FAST
    layers: list[int] = field(default_factory=lambda: [64, 32])
    limit: float | None = None


store = ConfigStore.instance()
store.store(name="config", node=Config)
store.store(group="db", name="mysql", node=Mysql)
store.store(group="db", name="postgresql", node=Postgres)


@hydra.main(version_base=None, config_name="config")
def my_app(cfg: Config) -> float:
    print(OmegaConf.to_yaml(cfg))
    return cfg.db.port + sum(cfg.layers) + (cfg.limit or 0) + cfg.mode.value


if __name__ == "__main__":
    my_app()
