"""The example app as the README starts it, in a copy of the checkout's own files, with an empty home directory."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from wandb_sweep_server.launch import read_address

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Checkout:
    """A copy of what the example needs."""

    directory: Path
    env: dict[str, str]

    def run(self, *command: str) -> str:
        """Run a command to its end; returns what it printed."""
        done = subprocess.run(
            command,
            cwd=self.directory,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=240,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def train(self, *arguments: str) -> tuple[dict[str, Any], str]:
        """`python example_app/train.py -m …`; returns its optimization_results.yaml and what it printed."""
        sweep = self.directory / "sweep"
        printed = self.run(sys.executable, "example_app/train.py", "-m", f"hydra.sweep.dir={sweep}", *arguments)
        results: dict[str, Any] = yaml.safe_load((sweep / "optimization_results.yaml").read_text())
        return results, printed


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Checkout]:
    directory = tmp_path / "checkout"
    for name in ("example_app", "conf"):
        shutil.copytree(ROOT / name, directory / name, ignore=shutil.ignore_patterns("__pycache__"))
    home = tmp_path / "home"
    home.mkdir()
    env = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")} | {"HOME": str(home)}
    yield Checkout(directory, env)
    address = read_address(directory / ".wandb_sweep_server")
    if address is not None:
        os.kill(address.pid, signal.SIGTERM)
