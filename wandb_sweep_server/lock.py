"""One process owns a directory."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import socket
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

log = logging.getLogger(__name__)

# The owner gives a sign of life at least this often; who doubts that it lives waits for more than two.
BEAT_S = 5.0
_WATCH_S = 12.5
_PROBE_S = 0.5
_NEXT_STEP = "Use that one, or end it."


class DirectoryOwnedError(RuntimeError):
    """Another server owns the directory."""


class LockError(RuntimeError):
    """The directory can't be locked at all."""


class DirectoryLock:
    """Held from creation to the end of the `with` or of the process, however that ends.

    It is a flock: the operating system gives it back, so that what a dead process left is no obstacle. Linux makes
    flocks hold between the machines that share an NFS, unless it is mounted with `nolock` or `local_lock`; Lustre
    and others have such mount options too. So a directory last owned by a process of another machine, which didn't
    say that it ended, is watched before it is taken over: its owner would beat.
    """

    def __init__(
        self,
        directory: Path,
        *,
        host: str | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """host: this machine's name.

        Raises:
            DirectoryOwnedError: It says who owns the directory, on which machine and since when.
            LockError: The file system has no locks.
            OSError: The lock's file can't be opened or written.
        """
        self._host = host or socket.gethostname()
        self._path = directory / "server.lock"
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            self._take(directory, sleep)
        except BaseException:
            os.close(self._file)
            raise

    def _take(self, directory: Path, sleep: Callable[[float], None]) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise LockError(
                    f"{directory} can't be locked: {error.strerror}. Its file system must have locks; "
                    "keep the server's data on another one."
                ) from error
            raise DirectoryOwnedError(
                f"{directory} belongs to a server that runs: {self._owner()}. {_NEXT_STEP}"
            ) from error
        last = self._read()
        if last and last.get("host") != self._host and self._beats(sleep):
            raise DirectoryOwnedError(
                f"{directory} belongs to a server that runs: {self._owner()}. {_NEXT_STEP} "
                "The file system's locks don't hold between the two machines."
            )
        since = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
        text = json.dumps({"pid": os.getpid(), "host": self._host, "since": since})
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, text.encode(), 0)

    def beat(self) -> None:
        """Give a sign of life, to be called every BEAT_S."""
        os.utime(self._file)

    @property
    def is_deleted(self) -> bool:
        """True if the directory is no more, or somebody else's by now: its lock's file was deleted."""
        try:
            os.stat(self._path)
        except FileNotFoundError:
            return True
        except OSError:  # a network file system that is away
            return False
        return False

    def __enter__(self) -> DirectoryLock:
        return self

    def __exit__(self, *_: object) -> None:
        # So that nobody on another machine waits for a sign of life.
        os.ftruncate(self._file, 0)
        os.close(self._file)

    def _read(self) -> dict[str, object]:
        try:
            owner = json.loads(os.pread(self._file, 4096, 0))
        except ValueError:
            return {}
        return owner if isinstance(owner, dict) else {}

    def _owner(self) -> str:
        owner = self._read()
        if not owner:
            return "an unknown process"
        return f"process {owner.get('pid')} on {owner.get('host')}, since {owner.get('since')}"

    def _beats(self, sleep: Callable[[float], None]) -> bool:
        log.info("%s was last served by %s: waiting for a sign of it", self._path.parent, self._owner())
        first, waited_s = self._changed_ns(), 0.0
        while waited_s < _WATCH_S:
            sleep(_PROBE_S)
            waited_s += _PROBE_S
            if self._changed_ns() != first:
                return True
        return False

    def _changed_ns(self) -> int:
        # A network file system shows what other machines did to a file to those who open it anew.
        descriptor = os.open(self._path, os.O_RDONLY)
        try:
            return os.fstat(descriptor).st_mtime_ns
        finally:
            os.close(descriptor)
