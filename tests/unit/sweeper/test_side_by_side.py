"""Several agents in one job: one that hangs is killed and replaced, without the others."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from hydra_plugins.hydra_wandb_sweeper._side_by_side import SideBySide
from hydra_plugins.hydra_wandb_sweeper._signs import SignOfLife, Signs

FORK = multiprocessing.get_context("fork")


def test_an_agent_that_hangs_is_killed_and_another_one_takes_its_place(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "signs").mkdir()

    def agent(name: str) -> None:
        SignOfLife(tmp_path, name).give()
        if name == "agent-0-1":
            os.kill(os.getpid(), signal.SIGSTOP)

    def start(_place: int, name: str) -> Any:
        process = FORK.Process(target=agent, args=(name,))
        process.start()
        return process

    dead: list[str] = []
    SideBySide(["agent-0-0", "agent-0-1"], start, dead.append, Signs(tmp_path, 0.5)).run()
    assert dead == ["agent-0-1"]
    assert "Agent agent-0-1 has given no sign of life for 0 s; it is killed." in caplog.messages
    assert f"Agent agent-0-1 died (exit status {-signal.SIGKILL})." in caplog.messages
    assert sorted(path.name for path in (tmp_path / "signs").iterdir()) == ["agent-0-0", "agent-0-1", "agent-0-1x1"]


def test_who_looks_on_is_called_while_they_run(tmp_path: Path) -> None:
    (tmp_path / "signs").mkdir()
    reader, writer = os.pipe()

    def start(_place: int, name: str) -> Any:
        process = FORK.Process(target=os.read, args=(reader, 1), name=name)  # until it may end
        process.start()
        return process

    looks: list[int] = []

    def look() -> None:
        looks.append(1)
        if len(looks) == 3:
            os.write(writer, b"!")

    SideBySide(["agent-0-0"], start, lambda _: None, Signs(tmp_path, None), look, 0.01).run()
    assert len(looks) >= 3
