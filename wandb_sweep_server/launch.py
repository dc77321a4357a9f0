"""Starting a directory's server on demand. Imports nothing heavy: the server is a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from .address import ServerAddress, read_address

__all__ = ["ServerAddress", "ServerStartError", "ensure_running", "read_address"]

_LOG = "server.log"
_PROBE_S = 0.05


class ServerStartError(RuntimeError):
    """The server of a directory can't be started."""


def ensure_running(
    directory: Path,
    *,
    host: str = "127.0.0.1",
    idle_timeout_s: float = 3600.0,
    startup_timeout_s: float = 30.0,
) -> ServerAddress:
    """Return the live server of a directory, started if need be. Callers at the same time get the same one.

    Args:
        directory: Made if it doesn't exist, with mode 0700.
        host: The address it listens on; a server that runs already must listen there too.
        idle_timeout_s: It ends after so long without a request and without a running run.
        startup_timeout_s: How long it may take to answer.

    Raises:
        ServerStartError: It didn't start (with the end of its log), or listens on another address.
    """
    directory = directory.absolute()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    address = _live(directory)
    if address is None:
        address = _start(directory, host, idle_timeout_s, startup_timeout_s)
    if host not in (address.host, "127.0.0.1"):
        raise ServerStartError(
            f"The sweep server of {directory} listens on {address.host} only, but {host} is needed for jobs on other "
            f"machines. End it when no sweep runs (kill {address.pid}) and start again."
        )
    return address


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
    except (OSError, ValueError, urllib.error.URLError):
        return False


def _start(directory: Path, host: str, idle_timeout_s: float, startup_timeout_s: float) -> ServerAddress:
    command = [sys.executable, "-m", "wandb_sweep_server", "--dir", str(directory), "--host", host]
    command += ["--idle-timeout-s", str(idle_timeout_s)]
    with open(directory / _LOG, "ab") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # it outlives the terminal
            cwd=directory,
        )
    deadline = time.monotonic() + startup_timeout_s
    while time.monotonic() < deadline:
        address = _live(directory)
        if address is not None:
            # Ours, or that of somebody who started one at the same moment; then ours has ended by itself.
            return address
        time.sleep(_PROBE_S)
    process.poll()
    state = "still starts" if process.returncode is None else f"ended with status {process.returncode}"
    raise ServerStartError(
        f"The sweep server of {directory} doesn't answer after {startup_timeout_s:.0f} s; its process {state}. "
        f"The end of {directory / _LOG}:\n{_tail(directory / _LOG)}"
    )


def _tail(path: Path, lines: int = 15) -> str:
    return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
