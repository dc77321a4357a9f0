"""A Hydra config tree with something of everything, its loader, and Hydra's own BasicSweeper as the reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hydra import initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

CONFIG_TREE = {
    "config.yaml": """
defaults:
  - _self_
  - db: mysql
  - server@srv: nginx
a: 1
b: {c: 2, d: x, e: {f: null}}
s: text
n: null
lst: [1, 2]
flag: true
lr: 0.1
ref: ${a}
""",
    "db/mysql.yaml": "driver: mysql\nport: 3306\n",
    "db/postgres.yaml": "driver: postgres\nport: 5432\n",
    "db/pg_old.yaml": "driver: postgres\nport: 5431\n",
    "server/nginx.yaml": "name: nginx\nworkers: 4\n",
    "server/apache.yaml": "name: apache\nworkers: 8\n",
    "model/nested/small.yaml": "# @package model\nwidth: 8\n",
    "model/nested/wide.yaml": "# @package model\nwidth: 64\n",
}


@dataclass
class HydraApp:
    """A config tree as a Hydra app would see it."""

    loader: ConfigLoader
    sweep_dir: Path
    composed: dict[tuple[str, ...], DictConfig] = field(default_factory=dict)

    def master(self, *hydra_overrides: str) -> DictConfig:
        """The config that Hydra hands to a sweeper."""
        overrides = [f"hydra.sweep.dir={self.sweep_dir}", "hydra.job.name=app", *hydra_overrides]
        return self.loader.load_configuration("config", overrides, RunMode.MULTIRUN)

    def basic_sweeper_runs(self, arguments: Sequence[str]) -> list[list[str]]:
        """The overrides of every job that Hydra's BasicSweeper would launch, by its own code."""
        (basic,) = (c for c in Plugins.instance().discover(Sweeper) if c.__name__ == "BasicSweeper")
        parsed = OverridesParser.create(config_loader=self.loader).parse_overrides(list(arguments))
        batches: list[list[list[str]]] = basic.split_arguments(parsed, None)  # type: ignore[attr-defined]
        return [list(job) for batch in batches for job in batch]

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """One trial's config."""
        key = tuple(overrides)
        if key not in self.composed:
            self.composed[key] = self.loader.load_sweep_config(self.master(), list(overrides))
        return self.composed[key]

    def task_config(self, overrides: Sequence[str]) -> dict[str, Any]:
        """One trial's config without Hydra's part, as plain containers."""
        plain = OmegaConf.to_container(self.compose(overrides), resolve=False)
        assert isinstance(plain, dict)
        return {str(k): v for k, v in plain.items() if k != "hydra"}


@pytest.fixture(scope="session")
def app(tmp_path_factory: pytest.TempPathFactory) -> HydraApp:
    root = tmp_path_factory.mktemp("app")
    for name, text in CONFIG_TREE.items():
        path = root / "conf" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    GlobalHydra.instance().clear()
    with initialize_config_dir(version_base="1.3", config_dir=str(root / "conf")):
        loader = GlobalHydra.instance().config_loader()
    # Outside of the block: Hydra's global state belongs to no other test, and a loader works without it.
    return HydraApp(loader, root / "sweep")
