"""Settings for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from hydra_plugins.hydra_wandb_sweeper._settings import Settings, read_settings
from hydra_plugins.hydra_wandb_sweeper.config import WandbSweeperConf


def raw_settings(**changes: Any) -> dict[str, Any]:
    """The defaults of hydra.sweeper as plain containers, with changes ('metric.name' as metric_name)."""
    raw = OmegaConf.to_container(OmegaConf.structured(WandbSweeperConf))
    assert isinstance(raw, dict)
    for field, value in changes.items():
        if field.startswith("metric_"):
            raw["metric"][field.removeprefix("metric_")] = value
        else:
            raw[field] = value
    return {str(k): v for k, v in raw.items()}


def make_settings(**changes: Any) -> Settings:
    """Checked settings."""

    def no_file(path: Path) -> Any:
        raise AssertionError(path)

    return read_settings(raw_settings(**changes), job_name="app", load_sweep_file=no_file)
