"""Files that are whole and on disk once their writing returns, or as they were before."""

from __future__ import annotations

import contextlib
import os
import secrets
from itertools import takewhile
from pathlib import Path


def write_whole(path: Path, content: bytes, *, mode: int = 0o666) -> None:
    """Replace a file's content, durably: a reader sees the old or the new one, also after a loss of power.

    mode: of the file, less the umask. Directories above it are made.
    Raises: OSError. Then the old content is there, and nothing is left of the new one.
    """
    make_directory(path.parent)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
            file.flush()
            # Before the new name: a file system may store the name first, and lose power before the content.
            os.fsync(file.fileno())
        move_whole(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def move_whole(source: Path, target: Path) -> None:
    """Give a synced file its final name, durably."""
    os.replace(source, target)
    sync_directory(target.parent)


def make_directory(path: Path, mode: int = 0o777) -> None:
    """Make a directory and those above it, durably, unless they exist. mode: of the last one, less the umask."""
    missing = list(takewhile(lambda parent: not parent.exists(), (path, *path.parents)))
    path.mkdir(mode=mode, parents=True, exist_ok=True)
    for made in missing:
        sync_directory(made.parent)


def sync_directory(path: Path) -> None:
    """Have the names in a directory stored."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
