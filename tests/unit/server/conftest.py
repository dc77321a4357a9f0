from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.server.four_runs import store_runs
from tests.unit.server.support import Server
from wandb_sweep_server.listing import RunLists


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    yield server
    server.store.close()


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunLists]:
    """Lists of the four runs; nothing that uses them changes them."""
    server = Server(tmp_path_factory.mktemp("store"))
    yield store_runs(server)
    server.store.close()
