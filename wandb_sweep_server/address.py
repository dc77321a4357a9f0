"""server.json: where the server of a directory is, and the key to it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from .durable import write_whole

_FILE = "server.json"
_KEY_FILE = "api_key"
# Of a server's directory that nobody has named, in the project's.
DEFAULT_NAME = ".wandb_sweep_server"


@dataclass(frozen=True)
class ServerAddress:
    """A running server. instance: a name of the very process; host: the address it listens on."""

    url: str
    api_key: str = field(repr=False)
    directory: Path
    pid: int
    host: str
    instance: str


def read_address(directory: Path) -> ServerAddress | None:
    """Return what the server of a directory wrote of itself, None if there is none (it may have died since)."""
    try:
        data = json.loads((directory / _FILE).read_text(encoding="utf-8"))
        return ServerAddress(data["url"], data["api_key"], directory, data["pid"], data["host"], data["instance"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def write_address(address: ServerAddress) -> None:
    """Write it for this user's eyes only; a reader sees all of it or the one before."""
    data = {k: v for k, v in vars(address).items() if k != "directory"}
    write_whole(address.directory / _FILE, json.dumps(data).encode(), mode=0o600)


def remove_address(address: ServerAddress) -> None:
    """Remove it, unless another server has taken over meanwhile."""
    current = read_address(address.directory)
    if current is not None and current.instance == address.instance:
        (address.directory / _FILE).unlink(missing_ok=True)


def api_key(directory: Path) -> str:
    """Return the directory's API key, made at the first call: W&B's SDK wants 40 characters after a prefix."""
    path = directory / _KEY_FILE
    if not path.exists():
        write_whole(path, f"local-{os.urandom(20).hex()}".encode(), mode=0o600)
    return path.read_text(encoding="utf-8")


def keep_out_of_git(directory: Path) -> None:
    """Have git take no notice of a server's directory: it stands in the user's project, and has a key in it.

    One that the user has named is the user's: there may be other things in it.
    """
    path = directory / ".gitignore"
    if directory.name == DEFAULT_NAME and not path.exists():
        write_whole(path, b"# Made by the embedded server of hydra-wandb-sweeper.\n*\n")


def last_port(directory: Path) -> int:
    """The port of the last server of the directory, 0 if there was none: agents come back to it."""
    try:
        return int((directory / "port").read_text())
    except (FileNotFoundError, ValueError):
        return 0


def keep_port(directory: Path, port: int) -> None:
    """Remember the port for the next server of the directory."""
    write_whole(directory / "port", str(port).encode())
