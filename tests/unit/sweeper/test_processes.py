"""Processes are ended by their ids, but never a later one that has got the id of one that is gone."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator

import pytest

from hydra_plugins.hydra_wandb_sweeper._processes import kill, process_start


@pytest.fixture
def stopped() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "600"])
    os.kill(process.pid, signal.SIGSTOP)
    yield process
    process.kill()
    process.wait()


def test_a_process_that_heeds_nothing_any_more_is_ended(stopped: subprocess.Popen[bytes]) -> None:
    kill(stopped.pid, process_start(stopped.pid))
    assert stopped.wait(timeout=60) == -signal.SIGKILL


def test_a_process_with_the_id_of_an_earlier_one_is_left_alone(stopped: subprocess.Popen[bytes]) -> None:
    kill(stopped.pid, "12345")
    assert stopped.poll() is None


def test_a_process_that_is_gone_needs_no_ending() -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    kill(process.pid, "12345")
