"""Starting a directory's server on demand. Imports nothing heavy: the server is a process of its own."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import IO
from urllib.parse import urlsplit

from .address import ServerAddress, read_address
from .attendance import BEGIN, LOG_FILE

__all__ = [
    "STATUS_OWNED",
    "PreparedServer",
    "ServerAddress",
    "ServerStartError",
    "ensure_running",
    "find_running",
    "log_tail",
    "read_address",
    "spawn",
]

_PROBE_S = 0.05
_AGAIN_S = 0.5
_LOOPBACK = "127.0.0.1"

# Exit status of a server whose directory belongs to another one.
STATUS_OWNED = 3


class ServerStartError(RuntimeError):
    """The server of a directory can't be started."""


def ensure_running(
    directory: Path,
    *,
    host: str = _LOOPBACK,
    idle_timeout_s: float = 3600.0,
    startup_timeout_s: float = 30.0,
    prepared: PreparedServer | None = None,
) -> ServerAddress:
    """Return the live server of a directory, started if need be. Callers at the same time get the same one.

    Args:
        directory: Made if it doesn't exist, with mode 0700.
        host: The address it listens on; a server that listens on loopback only is started anew for another one.
        idle_timeout_s: It ends after so long without a request and without a running run.
        startup_timeout_s: How long it may take to answer.
        prepared: What may be used if one has to be started; of the same directory, host and idle time.

    Raises:
        ServerStartError: It didn't start (with the end of its log), or listens on an address of another network.
    """
    directory = directory.absolute()
    address = find_running(directory, host=host, timeout_s=startup_timeout_s)
    while address is None:
        process = prepared or PreparedServer(directory, host=host, idle_timeout_s=idle_timeout_s)
        prepared = None
        with process:
            address = _start(process, startup_timeout_s)
        # What starts may be the server of somebody who wanted another address at the same moment.
        if not _serves(address, host):
            address = find_running(directory, host=host, timeout_s=startup_timeout_s)
    return address


def find_running(directory: Path, *, host: str = _LOOPBACK, timeout_s: float = 30.0) -> ServerAddress | None:
    """Return the live server of a directory, None if there is none that listens on `host`.

    A server that listens on loopback only is ended if another host is asked for, which may take timeout_s.

    Raises:
        ServerStartError: It listens on an address of another network, or didn't end.
    """
    address = _live(directory)
    if address is None or _serves(address, host):
        return address
    # Everything it has answered is on disk and its port stays the same: clients notice a short pause.
    _end(address, timeout_s)
    return None


def _serves(address: ServerAddress, host: str) -> bool:
    return host == _LOOPBACK or address.host in (host, "0.0.0.0", "::")  # noqa: S104 (compared only)


def _end(address: ServerAddress, timeout_s: float) -> None:
    if address.host != _LOOPBACK:
        # It may be on another machine, where its process id means something else.
        raise ServerStartError(
            f"The sweep server of {address.directory} listens on {address.host} only. End it when no sweep runs "
            f"(kill {address.pid} on its machine) and start again."
        )
    with contextlib.suppress(ProcessLookupError):
        os.kill(address.pid, signal.SIGTERM)
    deadline = time.monotonic() + timeout_s
    while read_address(address.directory) == address:
        if time.monotonic() > deadline:
            raise ServerStartError(
                f"The sweep server of {address.directory} listens on {address.host} only, and didn't end within "
                f"{timeout_s:.0f} s to start on another address. End it (kill {address.pid}) and start again."
            )
        time.sleep(_PROBE_S)


def _live(directory: Path) -> ServerAddress | None:
    address = read_address(directory)
    return address if address is not None and is_live(address) else None


def is_live(address: ServerAddress) -> bool:
    """True if the very process that wrote the address answers there."""
    # No proxy from the environment has any business between us and our own server: http.client knows none.
    connection = http.client.HTTPConnection(urlsplit(address.url).netloc, timeout=5)
    try:
        connection.request("GET", "/healthz")
        return bool(json.load(connection.getresponse()).get("instance") == address.instance)
    except (OSError, ValueError, http.client.HTTPException):  # the latter: it was killed while it answered
        return False
    finally:
        connection.close()


class PreparedServer:
    """A server process that begins when it is told to, and until then touches nothing; see attendance.

    directory, host, idle_timeout_s: as of ensure_running. As a context, it ends at its exit unless it has begun.
    has_log: what it says, from its first word on, is in the directory's log.
    """

    def __init__(self, directory: Path, *, host: str = _LOOPBACK, idle_timeout_s: float = 3600.0) -> None:
        self.directory = directory.absolute()
        self.has_log = False
        self._command = [*_command(self.directory, host, idle_timeout_s), "--attended"]
        self._has_begun = False
        self._launch(subprocess.DEVNULL)

    def _launch(self, output: int | IO[bytes]) -> None:
        self._socket, other_end = socket.socketpair()
        with other_end:
            # Python looks for modules in the working directory too, which is the user's here.
            self._process = _popen(self._command, stdin=other_end.fileno(), output=output, cwd=Path(os.sep))

    def begin(self) -> None:
        """Have it serve."""
        self._has_begun = True
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(OSError):  # it has ended
            self._socket.send(BEGIN)

    def begin_anew(self) -> None:
        """Have another process serve, after this one has ended."""
        self._socket.close()
        with open(self.directory / LOG_FILE, "ab") as log:
            self._launch(log)
        self.has_log = True
        self.begin()

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """Its exit status, None while it runs."""
        return self._process.poll()

    def wait(self, timeout_s: float) -> None:
        """Wait until it serves or ends, for timeout_s at most."""
        if not select.select([self._socket], [], [], timeout_s)[0]:
            return
        try:
            is_ready = bool(self._socket.recv(1))
        except ConnectionResetError:  # it has ended before it heard the word
            is_ready = False
        if not is_ready:
            # Its end of the connection is closed a moment before it has ended.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_PROBE_S)

    def __enter__(self) -> PreparedServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()
        if not self._has_begun:
            self._process.kill()
            self._process.wait()


def _start(process: PreparedServer, startup_timeout_s: float) -> ServerAddress:
    directory = process.directory
    process.begin()
    deadline = time.monotonic() + startup_timeout_s
    while (left_s := deadline - time.monotonic()) > 0:
        address = _live(directory)
        if address is not None:
            # Ours, or that of somebody who started one at the same moment; then ours has ended by itself.
            return address
        if process.status is None:
            process.wait(min(_AGAIN_S, left_s))
        elif process.status == STATUS_OWNED:
            # The owner is another one that starts, or one that is about to end: then ours is needed after all.
            time.sleep(_AGAIN_S)
            process.begin_anew()
        elif not process.has_log:
            process.begin_anew()  # so that it can be read what is wrong
        else:
            break
    state = "still starts" if process.status is None else f"ended with status {process.status}"
    raise ServerStartError(
        f"The sweep server of {directory} doesn't answer; its process {state} (limit: {startup_timeout_s:.0f} s). "
        f"The end of {directory / LOG_FILE}:\n{log_tail(directory)}"
    )


def spawn(directory: Path, *, host: str, idle_timeout_s: float = 3600.0) -> subprocess.Popen[bytes]:
    """Start a server process, without waiting for it; it ends with STATUS_OWNED if the directory has one.

    See ensure_running for the arguments.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(directory / LOG_FILE, "ab") as log:
        return _popen(_command(directory, host, idle_timeout_s), stdin=subprocess.DEVNULL, output=log, cwd=directory)


def _command(directory: Path, host: str, idle_timeout_s: float) -> list[str]:
    options = ["--dir", str(directory), "--host", host, "--idle-timeout-s", str(idle_timeout_s)]
    return [sys.executable, "-m", "wandb_sweep_server", *options]


def _popen(command: list[str], *, stdin: int, output: int | IO[bytes], cwd: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        stdin=stdin,
        stdout=output,
        stderr=output,
        start_new_session=True,  # it outlives the terminal
        cwd=cwd,
    )


def log_tail(directory: Path, lines: int = 15) -> str:
    """Return the last lines of the server's log, "" if it has none."""
    try:
        text = (directory / LOG_FILE).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-lines:])
