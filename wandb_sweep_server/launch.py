"""Starting a directory's server on demand. Imports nothing heavy: the server is a process of its own."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from .address import ServerAddress, read_address

__all__ = [
    "STATUS_OWNED",
    "ServerAddress",
    "ServerStartError",
    "ensure_running",
    "find_running",
    "log_tail",
    "read_address",
    "spawn",
]

_LOG = "server.log"
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
) -> ServerAddress:
    """Return the live server of a directory, started if need be. Callers at the same time get the same one.

    Args:
        directory: Made if it doesn't exist, with mode 0700.
        host: The address it listens on; a server that listens on loopback only is started anew for another one.
        idle_timeout_s: It ends after so long without a request and without a running run.
        startup_timeout_s: How long it may take to answer.

    Raises:
        ServerStartError: It didn't start (with the end of its log), or listens on an address of another network.
    """
    directory = directory.absolute()
    address = find_running(directory, host=host, timeout_s=startup_timeout_s)
    while address is None:
        address = _start(directory, host, idle_timeout_s, startup_timeout_s)
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
    try:
        # A proxy from the environment has no business between us and our own server.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{address.url}/healthz", timeout=5) as response:
            return bool(json.load(response).get("instance") == address.instance)
    except (OSError, ValueError, http.client.HTTPException):  # the latter: it was killed while it answered
        return False


def _start(directory: Path, host: str, idle_timeout_s: float, startup_timeout_s: float) -> ServerAddress:
    process = spawn(directory, host=host, idle_timeout_s=idle_timeout_s)
    deadline = time.monotonic() + startup_timeout_s
    while time.monotonic() < deadline:
        address = _live(directory)
        if address is not None:
            # Ours, or that of somebody who started one at the same moment; then ours has ended by itself.
            return address
        if process.poll() is None:
            time.sleep(_PROBE_S)
        elif process.returncode == STATUS_OWNED:
            # The owner is another one that starts, or one that is about to end: then ours is needed after all.
            time.sleep(_AGAIN_S)
            process = spawn(directory, host=host, idle_timeout_s=idle_timeout_s)
        else:
            break
    state = "still starts" if process.poll() is None else f"ended with status {process.returncode}"
    raise ServerStartError(
        f"The sweep server of {directory} doesn't answer; its process {state} (limit: {startup_timeout_s:.0f} s). "
        f"The end of {directory / _LOG}:\n{log_tail(directory)}"
    )


def spawn(directory: Path, *, host: str, idle_timeout_s: float = 3600.0) -> subprocess.Popen[bytes]:
    """Start a server process, without waiting for it; it ends with STATUS_OWNED if the directory has one.

    See ensure_running for the arguments.
    """
    command = [sys.executable, "-m", "wandb_sweep_server", "--dir", str(directory), "--host", host]
    command += ["--idle-timeout-s", str(idle_timeout_s)]
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(directory / _LOG, "ab") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # it outlives the terminal
            cwd=directory,
        )


def log_tail(directory: Path, lines: int = 15) -> str:
    """Return the last lines of the server's log, "" if it has none."""
    try:
        text = (directory / _LOG).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-lines:])
