"""A disk without room, or that can only be read: clear words, nothing broken, and on it goes when that is over."""

from __future__ import annotations

import os
import resource
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import pytest
import requests

from tests.integration.server import client as operations
from tests.integration.server.client import Client
from tests.integration.server.processes import Servers, claim, grid

NO_LIMIT = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


@contextmanager
def no_room_for_growth(servers: Servers) -> Iterator[None]:
    """No file of the server's process may become larger than its log may."""
    pid = servers.processes[-1].pid
    log_bytes = servers.directory.with_suffix(".log").stat().st_size
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (log_bytes + 20_000, resource.RLIM_INFINITY))
    yield
    resource.prlimit(pid, resource.RLIMIT_FSIZE, NO_LIMIT)


def assert_put_off(response: requests.Response) -> None:
    """W&B's SDK repeats requests that get a 503, for as long as it takes; any 4xx would lose data for good."""
    assert response.status_code == 503, response.text
    assert response.headers["retry-after"] == "5"
    (error,) = response.json()["errors"]
    assert "the server's disk doesn't let it write" in error["message"]


def check_database(directory: Path) -> None:
    with sqlite3.connect(directory / "sweeps.sqlite3") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


def work_through(no_room: AbstractContextManager[None], servers: Servers, client: Client) -> None:
    """Every request that writes is put off while the disk is full, and answered as if nothing had been afterwards."""
    sweep = client.sweep("p", grid(x=[1, 2]))
    agent, idle = client.agent("p", sweep), client.agent("p", sweep)
    claimed = claim(client, "p", agent)
    assert claimed
    run, _ = claimed
    client.start("p", run, sweep)
    client.log("p", run, [{"_step": 0}])
    made = client.graphql(operations.CREATE_FILES, project="p", run=run, files=["f"])["createRunFiles"]["files"]
    content, history = os.urandom(3_000_000), ['{"_step": 0}', *('{"x": "' + "y" * 3_000 + '"}' for _ in range(300))]
    files = {"wandb-history.jsonl": {"offset": 0, "content": history}}

    def stream() -> requests.Response:
        return client.stream("p", run, files=files)

    def upload() -> requests.Response:
        return requests.put(made[0]["uploadUrl"], data=content, timeout=60)

    with no_room:
        for _ in range(3):
            assert_put_off(stream())
            assert_put_off(upload())
            assert_put_off(client.post_graphql(operations.HEARTBEAT, {"id": idle, "metrics": "{}", "runState": "{}"}))
        assert client.run("p", run)["historyLineCount"] == 1
        assert list((servers.directory / "incoming").iterdir()) == []
        assert client.request("GET", f"/files/local/p/{run}/f").status_code == 404
    assert stream().status_code == 200
    assert upload().status_code == 200
    client.finish("p", run)
    claimed = claim(client, "p", agent)
    assert claimed
    assert claimed[1] == {"x": 2}
    client.finish("p", claimed[0])
    assert client.run("p", run)["historyLineCount"] == len(history)
    assert client.request("GET", f"/files/local/p/{run}/f").content == content
    assert client.sweep_of("p", sweep)["state"] == "FINISHED"
    assert made[0]["uploadUrl"].rpartition("/")[2] not in servers.log()
    servers.kill()
    check_database(servers.directory)


def test_a_server_whose_files_may_not_grow_puts_off_what_it_cannot_store(servers: Servers) -> None:
    client = Client(servers.start())
    work_through(no_room_for_growth(servers), servers, client)
    assert "can't be answered for now: " in servers.log()
    assert "Traceback" not in servers.log()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mounts file systems of 8 MB; needs root."""
    mounted: list[Path] = []

    def mount(name: str, options: str = "rw") -> Path:
        path = tmp_path / name
        path.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size=8m,{options}", "tmpfs", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            reason = f"only root can mount a small disk: {done.stderr.strip()}"
            (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
        mounted.append(path)
        return path

    yield mount
    for path in mounted:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


@pytest.fixture
def servers_on_it(small_disk: Callable[..., Path]) -> Iterator[Servers]:
    servers = Servers(small_disk("disk") / "data")
    yield servers
    servers.end()


@contextmanager
def no_room_beside(directory: Path) -> Iterator[None]:
    """The directory's disk is full to the last page."""
    filler = directory.parent / "filler"
    with open(filler, "wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass
    yield
    filler.unlink()


def test_a_full_disk_puts_off_what_cannot_be_stored(servers_on_it: Servers) -> None:
    client = Client(servers_on_it.start())
    work_through(no_room_beside(servers_on_it.directory), servers_on_it, client)


def test_a_server_that_finds_no_room_at_its_start_says_so_and_starts_when_there_is(servers_on_it: Servers) -> None:
    directory = servers_on_it.directory
    with no_room_beside(directory):
        command = [sys.executable, "-m", "wandb_sweep_server", "--dir", str(directory)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"{directory} can't be served: ")
    assert "No space left" in ended.stderr
    assert Client(servers_on_it.start()).sweep("p", grid(x=[1]))


def test_a_directory_that_can_only_be_read_is_refused_by_name(small_disk: Callable[..., Path]) -> None:
    directory = small_disk("read-only", "ro")
    servers = Servers(directory)
    process = servers.spawn()
    assert process.wait(timeout=60) == 1
    assert f"{directory} can't be served: " in servers.log()
    assert "Read-only file system" in servers.log()
    assert "Traceback" not in servers.log()
