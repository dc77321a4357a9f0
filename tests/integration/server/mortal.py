"""Servers that are killed at a point chosen beforehand, hundreds in a minute.

Most of a server's start is importing it. `python -m tests.integration.server.mortal` does that once and forks a real
server process for each line of its input. The points are found by what Python audits, without touching the server.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from wandb_sweep_server.launch import ServerAddress, is_live, read_address

_ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Point:
    """delay_s after the count-th event of a kind; rename: before a file gets its name, statement: before an SQL
    statement, commit: before a transaction is committed (with a delay: inside of it or after it)."""

    kind: str
    count: int
    delay_s: float


class Mortals:
    """Starts servers of a directory, one at a time. log: what they print."""

    def __init__(self, directory: Path, log: Path) -> None:
        self.directory = directory
        self._pid = 0
        self._log: TextIO = open(log, "a")  # noqa: SIM115 (until `close`)
        command = [sys.executable, "-m", "tests.integration.server.mortal"]
        self._parent = subprocess.Popen(
            command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True
        )

    def start(self, point: Point | None, *options: str) -> ServerAddress | None:
        """A server that answers, or None if it reached its point before."""
        order = {"arguments": ["--dir", str(self.directory), *options], "point": point and asdict(point)}
        self._pid = int(self._exchange(json.dumps(order)))
        deadline = time.monotonic() + 60
        while self.is_alive():
            address = read_address(self.directory)
            if address and address.pid == self._pid and is_live(address):
                return address
            assert time.monotonic() < deadline, "the server doesn't answer"
            time.sleep(0.002)
        return None

    def is_alive(self) -> bool:
        """Whether its point hasn't come yet."""
        state = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z"

    def kill(self) -> None:
        """kill -9, and wait for the end, which must have come by nothing else."""
        os.kill(self._pid, signal.SIGKILL)
        status = int(self._exchange("wait"))
        assert os.WIFSIGNALED(status), f"ended by itself with status {status}"
        assert os.WTERMSIG(status) == signal.SIGKILL

    def _exchange(self, line: str) -> str:
        assert self._parent.stdin
        assert self._parent.stdout
        self._parent.stdin.write(line + "\n")
        self._parent.stdin.flush()
        return self._parent.stdout.readline()

    def close(self) -> None:
        """End it all."""
        self._parent.kill()
        self._parent.wait()
        if Path(f"/proc/{self._pid}").exists():
            os.kill(self._pid, signal.SIGKILL)
        for stream in (self._parent.stdin, self._parent.stdout, self._log):
            if stream:
                stream.close()


def _die_at(point: Point) -> None:
    left = point.count

    def come() -> None:
        nonlocal left
        left -= 1
        if left == 0 and point.delay_s:
            threading.Thread(target=lambda: (time.sleep(point.delay_s), _die()), daemon=True).start()
        elif left == 0:
            _die()

    connections: list[sqlite3.Connection] = []

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        # At its own event a connection can't be used yet; the next event of any kind is soon enough.
        while connections:
            connections.pop().set_trace_callback(
                lambda sql: come() if point.kind == "statement" or sql == "COMMIT" else None
            )
        if event == "os.rename" and point.kind == "rename":
            come()
        elif event == "sqlite3.connect/handle" and point.kind in ("statement", "commit"):
            connections.append(arguments[0])

    sys.addaudithook(audit)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _serve_orders(main: Callable[[list[str]], int]) -> None:
    pid = 0
    for line in sys.stdin:
        if line == "wait\n":
            print(os.waitpid(pid, 0)[1], flush=True)
            continue
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            if order["point"]:
                _die_at(Point(**order["point"]))
            sys.exit(main(order["arguments"]))
        print(pid, flush=True)


if __name__ == "__main__":
    # What a server imports only when it serves.
    import uvicorn.lifespan.on
    import uvicorn.loops.auto
    import uvicorn.protocols.http.auto  # noqa: F401

    from wandb_sweep_server.__main__ import main

    _serve_orders(main)
