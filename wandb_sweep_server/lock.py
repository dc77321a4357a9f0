"""One process owns a directory."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from pathlib import Path


class DirectoryOwnedError(RuntimeError):
    """Another server owns the directory."""


class DirectoryLock:
    """Held from creation to the end of the process.

    The operating system gives it back however the process ends, on NFS (Linux) too.
    """

    def __init__(self, directory: Path) -> None:
        """Raises: DirectoryOwnedError, which says who owns the directory."""
        path = directory / "server.lock"
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.pread(self._file, 4096, 0).decode(errors="replace") or "an unknown process"
            os.close(self._file)
            raise DirectoryOwnedError(f"{directory} belongs to a server that runs: {owner}") from error
        text = json.dumps({"pid": os.getpid(), "host": socket.gethostname()})
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, text.encode(), 0)
