"""Sweeps that cells of a notebook start: a real kernel runs them."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any

import pytest
from jupyter_client.manager import start_new_kernel

from tests.integration.sweeper.conftest import Project
from tests.integration.sweeper.test_command import answer

WAYS = {
    "a command": f"!{sys.executable} app.py -m hydra/sweeper=wandb hydra.sweep.dir=sweep x=1,2",
    "the kernel itself": "%run app.py -m hydra/sweeper=wandb hydra.sweep.dir=sweep x=1,2",
}


@pytest.fixture
def run_cell(project: Project) -> Any:
    """What runs a cell, and returns what is shown below it."""
    manager, client = start_new_kernel(
        kernel_name="python3", startup_timeout=120, cwd=str(project.directory), env=project.env
    )

    def run(code: str) -> str:
        shown: list[str] = []

        def note(message: Any) -> None:
            content = message["content"]
            if message["msg_type"] == "error":
                content = {"text": "\n".join(content["traceback"])}
            shown.append(content.get("text", ""))

        client.execute_interactive(code, output_hook=note, timeout=180)
        return "".join(shown)

    yield run
    client.stop_channels()
    manager.shutdown_kernel()


@pytest.mark.parametrize("way", WAYS)
def test_a_sweep_that_a_cell_starts_writes_plain_lines_below_it(
    project: Project, run_cell: Callable[[str], str], way: str
) -> None:
    shown = run_cell(WAYS[way])
    assert re.search(r"Trial 1: x=2 finished in \d+\.\d s, objective=2\.25\r?\n", shown), shown
    assert "\x1b" not in shown
    assert "\r" not in shown.replace("\r\n", "")
    assert answer(project, "status", "sweep")["trials"]["finished"] == 2
    assert f"To run the best configuration again: {sys.executable} app.py x=1" in shown
