"""What is done for a run that W&B's SDK records, beside the task."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from hydra_plugins.hydra_wandb_sweeper._client import RunInfo, SweepRef
from hydra_plugins.hydra_wandb_sweeper._errors import ServerUnreachableError
from hydra_plugins.hydra_wandb_sweeper._ledger import Trial
from hydra_plugins.hydra_wandb_sweeper._run_client import RunClient
from hydra_plugins.hydra_wandb_sweeper._sdk_run import SdkRun

FILES = {"requirements.txt": "a==1\n"}
METRICS = {"loss": 0.5}


class Client(RunClient):
    """Notes what it is to send, and by whom. error: is raised then. may_send: until it is set, nothing is."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__(SweepRef("e", "p", "s"), lambda: pytest.fail("no request"), patience_s=0)
        self.sent: list[tuple[dict[str, Any], threading.Thread]] = []
        self.may_send = threading.Event()
        self._error = error

    def stream(self, run_id: str, body: Mapping[str, Any], patience_s: float | None = None) -> None:
        self.may_send.wait()
        if self._error is not None:
            raise self._error
        self.sent.append((dict(body), threading.current_thread()))


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of a trial."""
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_RUN_ID", "run3")


def run_of(client: Client) -> SdkRun:
    """The run of a task that opens and finishes it itself, and says all there is to say."""

    def find_run() -> RunInfo:
        return RunInfo("run3", "finished", {}, METRICS)

    trial = Trial(3, 0, "run3", {})
    return SdkRun(trial, client, FILES, opens_run=True, find_run=find_run, printed=lambda: ())


@pytest.mark.usefixtures("environment")
def test_a_task_does_not_wait_until_the_run_s_own_files_are_sent_but_the_end_does() -> None:
    client = Client()
    run = run_of(client)
    run.begin()
    assert client.sent == []
    run.wait_until_ready()  # else it would wait for ever: nothing may be sent yet
    client.may_send.set()
    assert run.finish(METRICS, None, 0) == METRICS
    ((body, thread),) = client.sent
    assert body == {"run_files": FILES}
    assert thread is not threading.current_thread()


@pytest.mark.usefixtures("environment")
def test_a_file_that_cannot_be_sent_is_told_of_and_fails_no_trial(caplog: pytest.LogCaptureFixture) -> None:
    client = Client(ServerUnreachableError("no server"))
    client.may_send.set()
    run = run_of(client)
    run.begin()
    run.wait_until_ready()
    with caplog.at_level(logging.WARNING):
        assert run.finish(METRICS, None, 0) == METRICS
    assert "The run's requirements.txt can't be sent: no server" in caplog.text
