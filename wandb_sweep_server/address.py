"""server.json: where the server of a directory is, and the key to it."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

_FILE = "server.json"
_KEY_FILE = "api_key"


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
    _write_secret(address.directory / _FILE, json.dumps(data))


def remove_address(address: ServerAddress) -> None:
    """Remove it, unless another server has taken over meanwhile."""
    current = read_address(address.directory)
    if current is not None and current.instance == address.instance:
        (address.directory / _FILE).unlink(missing_ok=True)


def api_key(directory: Path) -> str:
    """Return the directory's API key, made at the first call: W&B's SDK wants 40 characters after a prefix."""
    path = directory / _KEY_FILE
    if not path.exists():
        _write_secret(path, f"local-{secrets.token_hex(20)}")
    return path.read_text(encoding="utf-8")


def last_port(directory: Path) -> int:
    """The port of the last server of the directory, 0 if there was none: agents come back to it."""
    try:
        return int((directory / "port").read_text())
    except (FileNotFoundError, ValueError):
        return 0


def keep_port(directory: Path, port: int) -> None:
    """Remember the port for the next server of the directory."""
    (directory / "port").write_text(str(port))


def _write_secret(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(temporary, path)
