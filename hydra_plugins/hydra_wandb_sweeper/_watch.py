"""Who watches a sweep: the supervisor's sign of life in the sweep directory."""

from __future__ import annotations

import contextlib
import os
import socket
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from ._files import read_json, write_whole
from ._processes import process_start

# A supervisor that was silent for so long is taken to be gone; it speaks far more often.
SILENCE_S = 90.0
_FILE = "supervisor.json"


@dataclass(frozen=True, eq=False, repr=False)
class Watcher:
    """A supervisor: host and pid of its process, when that started (see process_start).

    time: of its last sign of life, in seconds since the epoch.
    """

    host: str
    pid: int
    started: str | None
    time: float
    token: str


def lives_here(watcher: Watcher) -> bool | None:
    """Return whether a supervisor's process is alive, None if it isn't of this machine."""
    if watcher.host != socket.gethostname():
        return None
    return process_start(watcher.pid) == watcher.started


class Watch:
    """The place of a sweep's supervisor, of which there is one at a time.

    root: the ledger's directory. lives: see lives_here. Two that take it at the same moment both succeed; the one
    that wrote first learns from `keep` that it lost it.
    """

    def __init__(
        self,
        root: Path,
        clock: Callable[[], float] = time.time,
        lives: Callable[[Watcher], bool | None] = lives_here,
    ) -> None:
        self._path = root / _FILE
        self._clock = clock
        self._lives = lives
        self._token = uuid.uuid4().hex

    def holder(self) -> Watcher | None:
        """Return the supervisor that is alive, None if there is none.

        One of this machine is looked for among its processes, one of another by the age of its sign of life.
        """
        noted = read_json(self._path)
        if noted is None:
            return None
        watcher = Watcher(**noted)
        lives = self._lives(watcher)
        if lives is None:
            lives = self._clock() - watcher.time < SILENCE_S
        return watcher if lives else None

    def keep(self) -> bool:
        """Say that this process watches, to be repeated while it does; False if another one does by now."""
        holder = self.holder()
        if holder is not None and holder.token != self._token:
            return False
        pid = os.getpid()
        sign = Watcher(socket.gethostname(), pid, process_start(pid), self._clock(), self._token)
        write_whole(self._path, asdict(sign))
        return True

    def leave(self) -> None:
        """This process watches no more."""
        holder = self.holder()
        if holder is None or holder.token == self._token:
            # Whoever finds a sign that couldn't be removed looks for the process, or at the sign's age.
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)
