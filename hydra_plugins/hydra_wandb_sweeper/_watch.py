"""Who watches a sweep: the supervisor's sign of life in the sweep directory."""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ._files import read_json, write_whole

# A supervisor that was silent for so long is taken to be gone; it speaks far more often.
SILENCE_S = 90.0
_FILE = "supervisor.json"


@dataclass(frozen=True)
class Watcher:
    """A supervisor: host and pid of its process, time of its last sign of life (seconds since the epoch)."""

    host: str
    pid: int
    time: float
    token: str


class Watch:
    """The place of a sweep's supervisor, of which there is one at a time.

    root: the ledger's directory. Two that take it at the same moment both succeed; the one that wrote first learns
    from `keep` that it lost it.
    """

    def __init__(self, root: Path, clock: Callable[[], float] = time.time) -> None:
        self._path = root / _FILE
        self._clock = clock
        self._token = uuid.uuid4().hex

    def holder(self) -> Watcher | None:
        """Return the supervisor that is alive, None if nobody has given a sign of life lately."""
        noted = read_json(self._path)
        if noted is None or self._clock() - noted["time"] >= SILENCE_S:
            return None
        return Watcher(**noted)

    def keep(self) -> bool:
        """Say that this process watches, to be repeated while it does; False if another one does by now."""
        holder = self.holder()
        if holder is not None and holder.token != self._token:
            return False
        sign = {"host": socket.gethostname(), "pid": os.getpid(), "time": self._clock(), "token": self._token}
        write_whole(self._path, sign)
        return True

    def leave(self) -> None:
        """This process watches no more."""
        holder = self.holder()
        if holder is None or holder.token == self._token:
            self._path.unlink(missing_ok=True)
