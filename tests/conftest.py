"""Shared by all tests: nothing of the developer's W&B, and Hydra apps made on the fly."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.hookimpl(tryfirst=True)  # xdist reads the marks in the same hook
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Under xdist a file's tests run in one process, and all that need the one SLURM cluster in one too.

    The latter come first: they wait most of the time, while another process does the rest.
    """
    if not config.pluginmanager.hasplugin("xdist"):
        return
    for item in items:
        on_cluster = "slurm" in item.path.parts
        item.add_marker(pytest.mark.xdist_group("slurm" if on_cluster else str(item.path)))
    items.sort(key=lambda item: "slurm" not in item.path.parts)


@pytest.fixture(autouse=True)
def no_wandb_of_the_developer(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A real login or setting of whoever runs the tests must neither be seen nor used."""
    for name in [n for n in os.environ if n.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    return


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project directory that is the working directory."""
    directory = tmp_path / "project"
    directory.mkdir()
    monkeypatch.chdir(directory)
    return directory
