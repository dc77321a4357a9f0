"""Server processes of a directory, and what tests of them ask for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.integration.server.client import Client
from tests.waiting import wait_for
from wandb_sweep_server.launch import ServerAddress, is_live, read_address
from wandb_sweep_server.lock import DirectoryLock, DirectoryOwnedError


class Servers:
    """Starts servers of a directory, and kills what is left of them in the end."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.processes: list[subprocess.Popen[str]] = []

    def start(self, *options: str) -> ServerAddress:
        """A server process with these options, which answers."""
        process = self.spawn(*options)

        def answers() -> ServerAddress | None:
            assert process.poll() is None, self.log()
            address = read_address(self.directory)
            return address if address and address.pid == process.pid and is_live(address) else None

        address: ServerAddress = wait_for(answers, "the server answers")
        return address

    def spawn(self, *options: str) -> subprocess.Popen[str]:
        """A server process."""
        command = [sys.executable, "-m", "wandb_sweep_server", "--dir", str(self.directory), *options]
        with open(self.directory.with_suffix(".log"), "a") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, text=True)
        self.processes.append(process)
        return process

    def log(self) -> str:
        """What all of them printed."""
        return self.directory.with_suffix(".log").read_text()

    def kill(self) -> None:
        """kill -9 of the last one."""
        self.processes[-1].kill()
        self.processes[-1].wait()

    def wait(self) -> int:
        """The exit status of the last one, which ends by itself."""
        return self.processes[-1].wait(timeout=60)

    def end(self) -> None:
        """Kill what still runs."""
        for process in self.processes:
            process.kill()
            process.wait()
        if self.directory.exists():
            wait_for(self._is_ours, "no server is left")

    def _is_ours(self) -> bool:
        """Kill one that ensure_running started, and own the directory: one that still starts then gives up."""
        address = read_address(self.directory)
        if address is not None and is_live(address):
            os.kill(address.pid, signal.SIGKILL)
        try:
            self._lock = DirectoryLock(self.directory)
        except DirectoryOwnedError:
            return False
        return True


def grid(**values: list[Any]) -> dict[str, Any]:
    """The config of a grid sweep."""
    return {"method": "grid", "parameters": {name: {"values": levels} for name, levels in values.items()}}


def claim(client: Client, project: str, agent: str) -> tuple[str, dict[str, Any]] | None:
    """The next trial of an agent that has none alive, as run id and values; None if it is told to exit."""
    (command,) = client.heartbeat(agent)
    if command["type"] == "exit":
        return None
    return command["run_id"], {name: item["value"] for name, item in command["args"].items()}
