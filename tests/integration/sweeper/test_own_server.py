"""Sweeps at the address of an embedded server that somebody else sees to."""

from __future__ import annotations

import http.server
import json
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hydra_plugins.hydra_wandb_sweeper._recognise import recognise
from hydra_plugins.hydra_wandb_sweeper._server import ServerRef
from tests.integration.sweeper.conftest import Project
from wandb_sweep_server import __version__
from wandb_sweep_server.launch import ServerAddress, ensure_running


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[ServerAddress]:
    """A server of no project."""
    address = ensure_running(tmp_path / "elsewhere")
    yield address
    os.kill(address.pid, signal.SIGTERM)


def test_an_embedded_server_that_is_named_by_its_address_does_all_that_a_projects_own_one_does(
    project: Project, elsewhere: ServerAddress
) -> None:
    url = f"hydra.sweeper.server={elsewhere.url}"
    sweep = project.sweep("x=1,2,3", url, "hydra.sweeper.shuffle=true", WANDB_API_KEY=elsewhere.api_key)
    assert sweep.results["trials"]["finished"] == 3
    assert sweep.results["best_value"] == 1.25
    # Else each trial would have W&B's own directory of its run.
    assert not list(sweep.directory.glob("*/wandb/run-*"))
    assert not (project.directory / ".wandb_sweep_server").exists()
    there = replace(project, env={**project.env, "WANDB_BASE_URL": elsewhere.url, "WANDB_API_KEY": elsewhere.api_key})
    seen = there.python_without_server(
        "import wandb\nfor r in wandb.Api().runs('local/app'): print('RUN', r.state, r.config['x'], r.summary)"
    )
    runs = [line for line in seen.splitlines() if line.startswith("RUN finished")]
    assert len(runs) == 3
    assert all("objective" in run for run in runs)


@pytest.mark.parametrize(
    ("about", "is_own"),
    [
        ({"service": "wandb_sweep_server", "version": __version__}, True),
        ({"service": "wandb_sweep_server", "version": "0.0.1"}, False),
        ({"healthy": True}, False),
        (["ok"], False),
        (None, False),
    ],
)
def test_only_a_server_of_this_project_and_version_is_taken_for_one(about: object, is_own: bool) -> None:
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"fine" if about is None else json.dumps(about).encode())

        def log_message(self, *_: object) -> None: ...

    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        found = recognise(ServerRef("wandb", f"http://127.0.0.1:{server.server_port}"))
        thread.join()
    assert (found.is_own, found.is_embedded, found.is_local) == (is_own, is_own, False)


def test_a_server_that_does_not_answer_is_not_taken_for_one(unused_port: int) -> None:
    assert not recognise(ServerRef("wandb", f"http://127.0.0.1:{unused_port}")).is_embedded


@pytest.fixture
def unused_port() -> int:
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        return server.server_port
