"""The real server process; the SDK in every version it has to serve; and bare HTTP."""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.server.client import Client
from tests.integration.server.processes import Servers
from tests.integration.server.sdk import Sdk, User
from wandb_sweep_server.launch import ServerAddress, ensure_running


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerAddress]:
    """A server that tests share; each uses a project of its own."""
    address = ensure_running(tmp_path_factory.mktemp("shared") / "server", idle_timeout_s=7200)
    yield address
    os.kill(address.pid, signal.SIGTERM)


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    """Servers of a directory of their own."""
    servers = Servers(tmp_path / "data")
    yield servers
    servers.end()


@pytest.fixture(scope="session")
def client(server: ServerAddress) -> Client:
    """Bare HTTP to the shared server."""
    return Client(server)


@pytest.fixture
def project() -> str:
    """The name of a project that nobody else uses."""
    return new_project()


@pytest.fixture
def user(sdk: Sdk, server: ServerAddress, tmp_path: Path) -> Iterator[User]:
    """Someone who uses the SDK in a directory and a project of their own."""
    user = User(sdk, server, tmp_path / "user", new_project())
    yield user
    user.end()


def new_project() -> str:
    """A name for a project."""
    return f"project-{secrets.token_hex(4)}"
