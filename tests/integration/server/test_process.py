"""The server as a process: started on demand, one for each directory, safe from kill -9, and gone when idle."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import re
import shutil
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest
import requests

from tests.integration.server.client import Client
from tests.integration.server.processes import Servers, claim, grid
from tests.waiting import wait_for
from wandb_sweep_server.__main__ import _keep_house
from wandb_sweep_server.app import Activity
from wandb_sweep_server.launch import ServerAddress, ServerStartError, ensure_running, is_live, read_address

T = TypeVar("T")

STARTER = """
import sys
from pathlib import Path
from wandb_sweep_server.launch import ensure_running
address = ensure_running(Path(sys.argv[1]))
print(address.instance, address.pid, address.url)
"""


# --- one server for each directory ---


def test_many_processes_that_need_a_server_at_once_get_the_same_one(servers: Servers) -> None:
    # A proxy from the environment must not come between them and their server.
    env = os.environ | {"http_proxy": "http://127.0.0.1:9", "no_proxy": ""}
    command = [sys.executable, "-c", STARTER, str(servers.directory)]
    starters = [subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) for _ in range(6)]
    seen = {starter.communicate(timeout=120)[0] for starter in starters}
    assert [starter.returncode for starter in starters] == [0] * 6
    assert len(seen) == 1
    _, pid, url = seen.pop().split()
    address = read_address(servers.directory)
    assert address is not None
    assert (address.pid, address.url) == (int(pid), url)


def test_a_second_server_of_a_directory_refuses_and_names_the_first(servers: Servers) -> None:
    first = servers.start()
    second = subprocess.run(
        [sys.executable, "-m", "wandb_sweep_server", "--dir", str(servers.directory)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert second.returncode != 0
    assert f"process {first.pid} on {socket.gethostname()}, since 20" in second.stderr
    assert str(servers.directory) in second.stderr
    assert "Traceback" not in second.stderr
    assert is_live(first)


def test_a_server_that_cannot_start_is_reported_at_once_with_its_log(servers: Servers) -> None:
    servers.directory.mkdir()
    connection = sqlite3.connect(servers.directory / "sweeps.sqlite3")
    connection.execute("PRAGMA user_version = 999")
    connection.close()
    # Far beyond the time limit of this test.
    with pytest.raises(
        ServerStartError, match=r"(?s)doesn't answer; its process ended with status 1.*schema version 999"
    ):
        ensure_running(servers.directory, startup_timeout_s=3600)


def test_a_start_while_the_last_server_ends_gets_a_new_one(servers: Servers) -> None:
    first = servers.start()
    host, port = first.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        # A request that never comes to its end keeps the server from ending for some seconds.
        token = requests.auth._basic_auth_str("api", first.api_key)
        head = f"POST /graphql HTTP/1.1\r\nHost: h\r\nAuthorization: {token}\r\nContent-Length: 9\r\n\r\n"
        connection.sendall(head.encode())
        servers.processes[-1].send_signal(signal.SIGTERM)
        wait_for(lambda: not is_live(first), "the server closes its port")
        second = ensure_running(servers.directory)
    assert second.instance != first.instance
    assert is_live(second)
    assert Client(second).graphql("{ viewer { entity } }") == {"viewer": {"entity": "local"}}


def test_a_server_for_this_machine_only_is_started_anew_for_others_at_the_same_port(servers: Servers) -> None:
    first = servers.start()
    client = Client(first)
    sweep = client.sweep("p", grid(x=[1]))
    second = ensure_running(servers.directory, host="0.0.0.0")
    assert second.host == "0.0.0.0"
    assert servers.wait() == 0
    assert (second.url.rpartition(":")[2], second.api_key) == (first.url.rpartition(":")[2], first.api_key)
    assert client.sweep_of("p", sweep)["state"] == "PENDING"  # by the old address, which goes on working


def test_who_needs_a_server_for_other_machines_gets_one_though_others_start_one_for_this_only(
    servers: Servers,
) -> None:
    code = STARTER.replace("Path(sys.argv[1])", "Path(sys.argv[1]), host=sys.argv[2]").replace(
        "address.url", "address.host"
    )
    starters = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(servers.directory), host], stdout=subprocess.PIPE, text=True
        )
        for host in ("127.0.0.1", "0.0.0.0") * 3
    ]
    hosts = [starter.communicate(timeout=120)[0].split()[2] for starter in starters]
    assert hosts[1::2] == ["0.0.0.0"] * 3
    address = read_address(servers.directory)
    assert address is not None
    assert address.host == "0.0.0.0"
    assert is_live(address)


def test_a_server_on_one_address_is_not_ended_for_the_sake_of_another(servers: Servers) -> None:
    first = servers.start("--host", "127.0.0.2")
    with pytest.raises(ServerStartError, match=f"127.0.0.2 only.*kill {first.pid}"):
        ensure_running(servers.directory, host="127.0.0.3")
    assert is_live(first)


def test_a_server_for_other_machines_serves_this_one_too(servers: Servers) -> None:
    first = servers.start("--host", "0.0.0.0")
    assert ensure_running(servers.directory).instance == first.instance
    assert ensure_running(servers.directory, host="0.0.0.0").instance == first.instance


# --- secrets ---


def test_the_key_is_for_its_owner_only(servers: Servers) -> None:
    code = f"import os; os.umask(0)\n{STARTER}"
    subprocess.run([sys.executable, "-c", code, str(servers.directory)], check=True, timeout=60)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in servers.directory.iterdir()}
    assert (modes["server.json"], modes["api_key"]) == (0o600, 0o600)
    assert stat.S_IMODE(servers.directory.stat().st_mode) == 0o700


def test_the_key_has_the_form_that_the_sdk_wants_and_is_no_others(servers: Servers, server: ServerAddress) -> None:
    key = servers.start().api_key
    assert re.fullmatch(r"([a-z]+-)?[A-Za-z0-9_]{40,}", key)
    assert key != server.api_key


def test_the_key_is_neither_logged_nor_in_the_list_of_processes(servers: Servers) -> None:
    address = ensure_running(servers.directory)
    client = Client(address)
    client.graphql("{ viewer { entity } }")
    client.request("GET", f"/{address.api_key}")
    client.request("POST", "/graphql", data=b"{")
    command = Path(f"/proc/{address.pid}/cmdline")
    if command.exists():
        assert address.api_key not in command.read_text()
    os.kill(address.pid, signal.SIGTERM)
    wait_for(lambda: read_address(servers.directory) is None, "the server ends")
    log = (servers.directory / "server.log").read_text()
    assert "serving" in log
    assert address.api_key not in log
    assert address.api_key not in repr(address)


# --- the end of it ---


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_is_told_to_end_does_so_cleanly(servers: Servers, number: signal.Signals) -> None:
    first = servers.start()
    assert Client(first).sweep("p", grid(x=[1]))
    servers.processes[-1].send_signal(number)
    assert servers.wait() == 0
    assert not (servers.directory / "server.json").exists()
    assert (servers.directory / "server.lock").read_text() == "", (
        "a server on another machine would wait for its beat"
    )
    assert "Traceback" not in servers.log()
    second = servers.start()
    assert (second.url, second.api_key) == (first.url, first.api_key)


def test_a_server_whose_directory_is_deleted_ends(servers: Servers) -> None:
    Client(servers.start()).start("p", "a run is alive")
    shutil.rmtree(servers.directory)
    assert servers.wait() == 0
    assert not servers.directory.exists()


def test_an_idle_server_ends_but_not_while_a_run_is_alive(servers: Servers, tmp_path: Path) -> None:
    busy = Client(servers.start("--idle-timeout-s", "1"))
    busy.start("p", "r")
    kept = Servers(tmp_path / "kept")
    kept.start("--idle-timeout-s", "0")
    # Another one, idle since later on, ends; so the busy one was idle long enough when that has happened.
    idle = Servers(tmp_path / "idle")
    idle.start("--idle-timeout-s", "1")
    assert idle.wait() == 0
    assert not (idle.directory / "server.json").exists()
    assert servers.processes[-1].poll() is None
    busy.finish("p", "r")
    assert servers.wait() == 0
    assert "idle" in servers.log()
    assert kept.processes[-1].poll() is None
    kept.end()


def test_an_idle_server_waits_for_the_agents_of_an_open_sweep_but_not_for_ever(
    servers: Servers, tmp_path: Path
) -> None:
    client = Client(servers.start("--idle-timeout-s", "1"))
    sweep = client.sweep("p", grid(x=[1]))
    forgotten = Servers(tmp_path / "forgotten")
    Client(forgotten.start("--idle-timeout-s", "1", "--open-sweep-timeout-days", "0")).sweep("p", grid(x=[1]))
    assert forgotten.wait() == 0
    assert servers.processes[-1].poll() is None
    claimed = claim(client, "p", client.agent("p", sweep))
    assert claimed
    client.finish("p", claimed[0])
    assert servers.wait() == 0


def test_housekeeping_outlives_a_full_disk(caplog: pytest.LogCaptureFixture) -> None:
    class Server:
        should_exit = False

    class FullDisk:
        is_awaited = None
        failures = 2

        async def run(self, _: object) -> list[Any]:
            if self.failures:
                self.failures -= 1
                raise sqlite3.OperationalError("database or disk is full")
            return []

        async def remove_deleted_files(self) -> None:
            return

    server, store = Server(), FullDisk()
    lock = SimpleNamespace(beat=lambda: None, is_deleted=False)
    asyncio.run(_keep_house(store, server, Activity(lambda: 1e9), lock, idle_timeout_s=-1.0))  # type: ignore[arg-type]
    assert server.should_exit
    assert store.failures == 0
    assert caplog.messages == ["housekeeping failed and will be tried again"] * 2


# --- kill -9 ---


def test_after_kill_9_port_key_and_sweep_are_the_same(servers: Servers) -> None:
    first = servers.start()
    client = Client(first)
    sweep = client.sweep("p", grid(x=[1, 2]))
    agent = client.agent("p", sweep)
    claimed = claim(client, "p", agent)
    assert claimed
    servers.kill()
    assert not is_live(first)

    second = servers.start()
    assert (second.url, second.api_key) == (first.url, first.api_key)
    assert second.instance != first.instance
    # The very same client goes on: neither run nor agent has noticed more than a pause.
    run, values = claimed
    assert client.heartbeat(agent, [run]) == []
    client.start("p", run, sweep)
    client.log("p", run, [{"_step": 0, "loss": 1.0}])
    client.finish("p", run, summary={"loss": 1.0})
    claimed = claim(client, "p", agent)
    assert claimed
    assert (values, claimed[1]) == ({"x": 1}, {"x": 2})
    client.finish("p", claimed[0])
    assert claim(client, "p", agent) is None
    assert client.sweep_of("p", sweep)["state"] == "FINISHED"


def test_a_server_killed_at_any_moment_of_its_start_leaves_a_usable_directory(servers: Servers) -> None:
    chance = random.Random(4)
    for _ in range(5):
        process = servers.spawn()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=chance.uniform(0.05, 0.6))
        servers.kill()
    client = Client(servers.start())
    assert client.agent("p", client.sweep("p", grid(x=[1])))


class Agent(threading.Thread):
    """Claims trials to the end of a sweep, whatever becomes of the server, and ends each at once."""

    def __init__(self, address: ServerAddress, sweep: str) -> None:
        super().__init__(daemon=True)
        self._client = Client(address)
        self._sweep = sweep
        self.claimed: list[tuple[str, dict[str, Any]]] = []

    def run(self) -> None:
        agent = self._retry(lambda: self._client.agent("p", self._sweep))
        while True:
            commands = self._retry(lambda: self._client.heartbeat(agent))
            for command in commands:
                if command["type"] == "exit":
                    return
                name = command["run_id"]
                self.claimed.append((name, {key: item["value"] for key, item in command["args"].items()}))
                self._retry(lambda name=name: self._client.start("p", name, self._sweep))
                self._retry(lambda name=name: self._client.finish("p", name))
            if not commands:
                time.sleep(0.1)

    def _retry(self, work: Callable[[], T]) -> T:
        deadline = time.monotonic() + 60
        while True:
            try:
                return work()
            except requests.RequestException:
                assert time.monotonic() < deadline
                time.sleep(0.02)


def test_a_server_killed_again_and_again_hands_out_every_trial_exactly_once(servers: Servers) -> None:
    # A trial whose hand-out was stored, but not answered any more, is offered again after the crash timeout.
    options = ("--crash-timeout-s", "4", "--idle-timeout-s", "4")
    address = servers.start(*options)
    xs, ys = list(range(20)), list("abcdefghijkl")
    sweep = Client(address).sweep("p", grid(x=xs, y=ys))
    agents = [Agent(address, sweep) for _ in range(4)]
    for agent in agents:
        agent.start()
    chance = random.Random(9)

    def claimed() -> list[tuple[str, dict[str, Any]]]:
        return [claim for agent in agents for claim in list(agent.claimed)]

    for threshold in (10, 70, 130, 200):
        goal = threshold + chance.randrange(20)
        wait_for(lambda goal=goal: len(claimed()) >= goal, f"{goal} trials are claimed")
        time.sleep(chance.uniform(0, 0.02))  # anywhere in a request
        servers.kill()
        assert servers.start(*options).url == address.url
    for agent in agents:
        agent.join(timeout=90)
        assert not agent.is_alive()

    points = [(values["x"], values["y"]) for _, values in claimed()]
    assert sorted(points) == sorted(itertools.product(xs, ys))
    client = Client(address)
    runs = client.runs("p")
    assert sorted(name for name, _ in claimed()) == sorted(run["name"] for run in runs)
    assert {run["state"] for run in runs} == {"finished"}
    assert client.sweep_of("p", sweep)["state"] == "FINISHED"


# --- runs that fall silent ---


def test_a_silent_run_has_crashed_and_is_offered_again_while_one_that_is_heard_of_goes_on(servers: Servers) -> None:
    client = Client(servers.start("--crash-timeout-s", "1", "--idle-timeout-s", "2"))
    sweep = client.sweep("p", grid(x=[1, 2]))
    first, second = client.agent("p", sweep), client.agent("p", sweep)
    silent, heard = claim(client, "p", first), claim(client, "p", second)
    assert silent
    assert heard
    client.start("p", silent[0], sweep)
    client.start("p", heard[0], sweep)

    def has_crashed() -> bool:
        assert client.stream("p", heard[0]).ok  # an empty post is a heartbeat
        return bool(client.run("p", silent[0])["state"] == "crashed")

    wait_for(has_crashed, "the silent run counts as crashed")
    assert client.run("p", heard[0])["state"] == "running"
    client.finish("p", heard[0])
    (command,) = client.heartbeat(second)
    assert (command["type"], command["run_id"]) == ("resume", silent[0])
    client.start("p", silent[0], sweep)
    client.finish("p", silent[0])
    assert client.sweep_of("p", sweep)["state"] == "FINISHED"


def test_how_silence_is_judged_outlives_the_server(servers: Servers) -> None:
    client = Client(servers.start("--crash-timeout-s", "0.5", "--max-retries", "1", "--idle-timeout-s", "1"))
    sweep = client.sweep("p", grid(x=[1, 2]))
    servers.kill()
    client = Client(servers.start("--idle-timeout-s", "1"))
    agent = client.agent("p", sweep)
    claimed = claim(client, "p", agent)
    assert claimed
    for left in (1, 0):
        client.start("p", claimed[0], sweep)
        wait_for(lambda: client.run("p", claimed[0])["state"] == "crashed", "the silent run has crashed")
        again = claim(client, "p", agent)
        assert again
        assert (again[0] == claimed[0]) == bool(left)


def test_the_command_line_of_the_sweeper_passes_these_options_on(servers: Servers) -> None:
    command = [str(Path(sys.executable).with_name("hydra-sweep")), "serve", "--dir", str(servers.directory)]
    options = ["--host", "127.0.0.2", "--crash-timeout-s", "70", "--max-retries", "2"]
    with subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wait_for(lambda: read_address(servers.directory), "the server has started")
        kept = json.loads((servers.directory / "settings.json").read_text())
        host = read_address(servers.directory).host
        process.terminate()
    assert (host, kept["crash_timeout_s"], kept["max_retries"]) == ("127.0.0.2", 70.0, 2)


# --- size ---


def test_a_grid_of_a_million_is_handed_out_from_its_first_to_its_last_trial(servers: Servers) -> None:
    numbers = list(range(1000))
    client = Client(servers.start())
    sweep = client.sweep("p", grid(x=numbers, y=numbers))
    assert client.sweep_of("p", sweep)["runCountExpected"] == 1_000_000
    agent = client.agent("p", sweep)
    for y in range(30):
        claimed = claim(client, "p", agent)
        assert claimed
        assert claimed[1] == {"x": 0, "y": y}
        client.finish("p", claimed[0])
    servers.kill()
    connection = sqlite3.connect(servers.directory / "sweeps.sqlite3")
    connection.execute("UPDATE sweeps SET next_trial = 999998")  # as if all those before had been handed out
    connection.commit()
    connection.close()
    servers.start()
    for values in ({"x": 999, "y": 998}, {"x": 999, "y": 999}):
        claimed = claim(client, "p", agent)
        assert claimed
        assert claimed[1] == values
        client.finish("p", claimed[0])
    assert claim(client, "p", agent) is None
    assert client.sweep_of("p", sweep)["state"] == "FINISHED"


def test_a_grid_too_large_for_an_integer_of_64_bits_is_handed_out_all_the_same(server: ServerAddress) -> None:
    client = Client(server)
    names = [f"p{i:02}" for i in range(25)]
    sweep = client.sweep("huge", grid(**{name: list(range(10)) for name in names}))
    # Clients read this number into 64 bits.
    assert client.sweep_of("huge", sweep)["runCountExpected"] is None
    agent = client.agent("huge", sweep)
    claimed = claim(client, "huge", agent)
    assert claimed
    assert claimed[1] == dict.fromkeys(names, 0)


def test_many_agents_at_once_get_different_trials(server: ServerAddress) -> None:
    client = Client(server)
    sweep = client.sweep("crowd", grid(x=list(range(60))))

    def work(_: int) -> list[int]:
        own = Client(server)
        agent = own.agent("crowd", sweep)
        mine = []
        while own.sweep_of("crowd", sweep)["state"] != "FINISHED":
            for command in own.heartbeat(agent):
                if command["type"] == "run":
                    mine.append(command["args"]["x"]["value"])
                    own.finish("crowd", command["run_id"])
        return mine

    with ThreadPoolExecutor(12) as pool:
        claimed = list(pool.map(work, range(12)))
    assert sorted(itertools.chain.from_iterable(claimed)) == list(range(60))
