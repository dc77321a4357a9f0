"""Sweeps at the address of an embedded server that somebody else sees to."""

from __future__ import annotations

import http.server
import json
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from hydra_plugins.hydra_wandb_sweeper._recognise import recognise
from hydra_plugins.hydra_wandb_sweeper._server import ServerRef
from tests.integration.sweeper.conftest import Project
from tests.integration.sweeper.test_command import command
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


class _WandbOnly(http.server.BaseHTTPRequestHandler):
    """Passes on what W&B's servers answer as well; all that is this project's own isn't there."""

    protocol_version = "HTTP/1.1"
    url = ""

    def pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not self.path.startswith(("/graphql", "/files/")):
            self.answer(404, {}, b"no such page")
            return
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
        answer = requests.request(self.command, self.url + self.path, data=body, headers=headers, timeout=60)
        self.answer(answer.status_code, answer.headers, answer.content)

    def answer(self, status: int, headers: Mapping[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = pass_on

    def log_message(self, *_: object) -> None: ...


_HOP_BY_HOP = {"connection", "content-length", "transfer-encoding", "content-encoding", "date", "server"}


@pytest.fixture
def wandb_like(elsewhere: ServerAddress) -> Iterator[str]:
    """The URL of that server, behind something that hides what makes it recognisable."""
    handler = type("Handler", (_WandbOnly,), {"url": elsewhere.url})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("logs", [True, False], ids=["the task logs", "the task returns a number"])
def test_a_server_that_is_not_recognised_is_used_as_w_and_b_is(
    project: Project, elsewhere: ServerAddress, wandb_like: str, logs: bool
) -> None:
    if logs:
        app = (project.directory / "app.py").read_text()
        logging = "    import wandb\n    wandb.init().log({'loss': cfg.x})\n    return float(cfg.x)"
        (project.directory / "app.py").write_text(app.replace("    return float(cfg.x)", logging))
    project.env |= {"WANDB_BASE_URL": wandb_like, "WANDB_API_KEY": elsewhere.api_key}
    sweep = project.sweep("x=1,2", "model=small", "hydra.sweeper.server=wandb", "hydra.sweeper.entity=local")
    assert sweep.results["trials"]["finished"] == 2
    assert sweep.results["best_value"] == 1.25
    assert f"Sweep page: {wandb_like}/local/app/sweeps/" in sweep.output
    assert list(sweep.directory.glob("*/wandb/run-*")), "without this server's own ways the SDK records each trial"
    assert (sweep.directory / "report.html").exists()
    path = sweep.results["sweep_path"]
    for arguments in (("report", path), ("export", path, "--format", "json")):
        done = command(project, *arguments, "--server", "wandb")
        assert done.returncode == 0, done.stdout + done.stderr
    exported = json.loads(done.stdout)
    assert sorted((row["x"], row["metric.objective"]) for row in exported) == [(1, 1.25), (2, 2.25)]


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
