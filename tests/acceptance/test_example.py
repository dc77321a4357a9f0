"""The commands of the README on the example app."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.acceptance.conftest import Checkout

SEARCH = ("epochs=10,50,30", "batch_size=128", "dropout=0.01,0.2,0.5,0.8", "lr=1e-3,1e-4")


def is_complete(results: dict[str, Any], trials: int) -> bool:
    return bool(results["trials"]["finished"] == trials == sum(results["trials"].values()))


def overrides(directory: Path) -> list[list[str]]:
    return sorted(yaml.safe_load(path.read_text()) for path in directory.glob("sweep/*/.hydra/overrides.yaml"))


def test_the_search_of_the_readme_finds_its_best_of_24_configurations(checkout: Checkout) -> None:
    results, printed = checkout.train("hydra/sweeper=wandb", *SEARCH)
    assert is_complete(results, 24)
    assert results["best_params"] == {"epochs": 50, "dropout": 0.01, "lr": 0.001}
    assert results["best_value"] < 0.05
    assert f"Best objective: {results['best_value']:.6g} (epochs=50 batch_size=128 dropout=0.01 lr=0.001)" in printed
    assert f"Its directory: {results['best_dir']}" in printed
    assert Path(results["best_dir"], "trial.log").exists()


@pytest.mark.parametrize(
    "source",
    [["hydra/sweeper=wandb", "hydra.sweeper.sweep_file=conf/sweep.yaml"], ["+preset=digits_search"]],
    ids=["a W&B sweep file", "a preset"],
)
def test_the_same_search_runs_from_a_file(checkout: Checkout, source: Sequence[str]) -> None:
    results, _ = checkout.train(*source)
    assert is_complete(results, 24)
    assert results["metric"] == {"name": "validation_error", "goal": "minimize"}
    assert results["best_params"] == {"epochs": 50, "dropout": 0.01, "lr": 0.001}
    assert len({frozenset(texts) for texts in overrides(checkout.directory)}) == 24


@pytest.mark.parametrize("launcher", ["basic", "joblib", "submitit_local"])
def test_config_groups_are_globbed_on_every_launcher(checkout: Checkout, launcher: str) -> None:
    results, _ = checkout.train(
        "hydra/sweeper=wandb", f"hydra/launcher={launcher}", "model=glob(*)", "lr=0.1,0.01", "epochs=1"
    )
    models = sorted(path.stem for path in (checkout.directory / "conf" / "model").glob("*.yaml"))
    assert is_complete(results, 2 * len(models))
    expected = [[f"model={model}", f"lr={lr}", "epochs=1"] for model in models for lr in ("0.01", "0.1")]
    assert overrides(checkout.directory) == sorted(expected)


def test_the_settings_are_shown_with_hydra_s_own_flags(checkout: Checkout) -> None:
    flags = ("--cfg", "hydra", "-p", "hydra.sweeper")
    shown = yaml.safe_load(checkout.run(sys.executable, "example_app/train.py", "hydra/sweeper=wandb", *flags))
    issued = (
        "method metric params sweep_file early_terminate run_cap seed entity project name description tags server "
        "sweep_id agents agents_per_job trials_per_agent max_retries max_failure_rate max_consecutive_failures "
        "isolation wait"
    )
    assert set(issued.split()) <= set(shown)
