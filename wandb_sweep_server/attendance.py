"""A server that its starter attends: it begins at a word, and says so when it can be asked.

Importing what a server needs takes most of its start. A starter has it done while it still finds out whether it needs
a server at all: until the word, the server touches nothing, and without it, it ends.
"""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

BEGIN = b"b"
READY = b"r"
LOG_FILE = "server.log"


class Attendant:
    """The starter, as the server sees it at the other end of its standard input."""

    def __init__(self) -> None:
        self._socket = socket.socket(fileno=os.dup(0))

    def wait_for_word(self) -> bool:
        """Wait until the server shall begin; False if the starter has gone without a word."""
        try:
            return self._socket.recv(1) == BEGIN
        except OSError:
            return False

    def say_ready(self) -> None:
        """Say that the server's address is written, and have no more to do with the starter."""
        with contextlib.suppress(OSError):  # it may have gone
            self._socket.send(READY)
        self._socket.close()
        _open_as(os.devnull, os.O_RDONLY, (0,))


def take_place(directory: Path) -> None:
    """Work in a directory from now on, and write into its log."""
    os.chdir(directory)
    _open_as(str(directory / LOG_FILE), os.O_WRONLY | os.O_CREAT | os.O_APPEND, (1, 2))


def _open_as(path: str, flags: int, descriptors: tuple[int, ...]) -> None:
    opened = os.open(path, flags, 0o666)
    for descriptor in descriptors:
        os.dup2(opened, descriptor)
    os.close(opened)
