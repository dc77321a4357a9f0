"""Shared by all tests: nothing of the developer's W&B, and Hydra apps made on the fly."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import hypothesis
import pytest

# How long an example takes says more of the machine than of the code.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def no_wandb_of_the_developer(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A real login or setting of whoever runs the tests must neither be seen nor used."""
    for name in [n for n in os.environ if n.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    return


@pytest.fixture(autouse=True)
def log_levels_of_a_new_process() -> None:
    """What an earlier test in this process has configured, as a Hydra app or a command does, is nothing to a test."""
    logging.getLogger().setLevel(logging.WARNING)
    for name in ("hydra_plugins.hydra_wandb_sweeper", "wandb_sweep_server"):
        logging.getLogger(name).setLevel(logging.NOTSET)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project directory that is the working directory."""
    directory = tmp_path / "project"
    directory.mkdir()
    monkeypatch.chdir(directory)
    return directory
