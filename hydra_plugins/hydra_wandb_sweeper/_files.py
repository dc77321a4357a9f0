"""Small JSON files that many processes share, on a file system that may be NFS: written whole, created by one."""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path
from typing import Any


def write_whole(path: Path, content: object) -> None:
    """Write JSON so that readers see all of it or what was there before."""
    temporary = _temporary(path)
    temporary.write_text(json.dumps(content), encoding="utf-8")
    os.replace(temporary, path)


def create_once(path: Path, content: object) -> bool:
    """Create a JSON file with all its content; False if the name is taken. Exactly one of several callers gets True.

    It relies on link() failing if the name is taken, which holds on NFS too.
    """
    temporary = _temporary(path)
    temporary.write_text(json.dumps(content), encoding="utf-8")
    try:
        os.link(temporary, path)
    except FileExistsError:
        # NFS repeats a request whose answer was lost: then the link is ours although it says it exists.
        return os.stat(temporary).st_nlink == 2
    else:
        return True
    finally:
        temporary.unlink()


def read_json(path: Path) -> dict[str, Any] | None:
    """Read a JSON object, None if there is no such file."""
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return content


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}")
