"""A server that gets ready before it is known whether it is needed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.server.client import Client
from tests.integration.server.processes import Servers
from tests.waiting import wait_for
from wandb_sweep_server.launch import PreparedServer, ServerStartError, ensure_running, is_live


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """Where a server may be started, which is ended."""
    yield tmp_path / "server"
    if (tmp_path / "server").exists():
        Servers(tmp_path / "server").end()


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_it_touches_nothing_and_is_gone_if_it_is_not_used(directory: Path) -> None:
    with PreparedServer(directory) as prepared:
        pid = prepared.pid
    assert not is_alive(pid)
    assert not directory.exists()


def test_it_serves_when_it_is_told_to_and_outlives_its_starter_s_interest(directory: Path) -> None:
    with PreparedServer(directory) as prepared:
        pid = prepared.pid
        address = ensure_running(directory, prepared=prepared)
    assert address.pid == pid
    assert is_live(address)
    assert Client(address).graphql("{ viewer { entity } }") == {"viewer": {"entity": "local"}}
    assert "serving" in (directory / "server.log").read_text()


def test_it_is_not_used_where_a_server_runs(directory: Path) -> None:
    first = ensure_running(directory)
    with PreparedServer(directory) as prepared:
        assert ensure_running(directory, prepared=prepared) == first


def test_one_that_has_died_is_replaced(directory: Path) -> None:
    with PreparedServer(directory) as prepared:
        pid = prepared.pid
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: prepared.status is not None, "it has died")
        address = ensure_running(directory, prepared=prepared)
    assert address.pid != pid
    assert is_live(address)


def test_why_one_cannot_serve_is_in_the_log(directory: Path) -> None:
    directory.mkdir()
    (directory / "settings.json").write_text("no JSON")
    with (
        PreparedServer(directory) as prepared,
        pytest.raises(ServerStartError, match=r"(?s)ended with status 1.*settings.json"),
    ):
        ensure_running(directory, prepared=prepared, startup_timeout_s=3600)


STARTER = """
import sys, time
from pathlib import Path
from wandb_sweep_server.launch import PreparedServer
prepared = PreparedServer(Path(sys.argv[1]))
print(prepared.pid, flush=True)
time.sleep(600)
"""


def test_it_ends_with_a_starter_that_is_killed_before_its_word(directory: Path) -> None:
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER, str(directory)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert starter.stdout is not None
    with starter.stdout:
        pid = int(starter.stdout.readline())
        starter.kill()
        starter.wait()
    wait_for(lambda: not is_alive(pid), "the process has ended")
    assert not directory.exists()
