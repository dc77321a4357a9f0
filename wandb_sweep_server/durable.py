"""Files that are whole and on disk once their writing returns, or as they were before."""

from __future__ import annotations

import contextlib
import os
from itertools import takewhile
from pathlib import Path

_SUFFIX = ".part"


class PartialFile:
    """A file that grows under a name of its own until it is whole.

    directory: on the file system of its final place. mode: its mode, less the umask.
    """

    def __init__(self, directory: Path, mode: int = 0o666) -> None:
        make_directory(directory)
        self._path = directory / f".{os.urandom(8).hex()}{_SUFFIX}"
        self._file = open(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb")  # noqa: SIM115
        self.size_bytes = 0

    def write(self, content: bytes) -> None:
        """Append. Raises: OSError."""
        self._file.write(content)
        self.size_bytes += len(content)

    def finish(self, target: Path) -> None:
        """Give it its final name, durably, in place of what has it; directories above are made. Raises: OSError."""
        make_directory(target.parent)
        self._file.flush()
        # Before the new name: a file system may store the name first, and lose power before the content.
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self._path, target)
        sync_directory(target.parent)

    def discard(self) -> None:
        """Leave nothing of it, whatever went wrong before; one that is finished stays."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
        # Closing writes what is left to be written, which may be what went wrong.
        with contextlib.suppress(OSError):
            self._file.close()


def write_whole(path: Path, content: bytes, *, mode: int = 0o666) -> None:
    """Replace a file's content, durably: a reader sees the old or the new one, also after a loss of power.

    mode: of the file, less the umask. Directories above it are made.
    Raises: OSError. Then the old content is there, and nothing is left of the new one.
    """
    part = PartialFile(path.parent, mode)
    try:
        part.write(content)
        part.finish(path)
    except BaseException:
        part.discard()
        raise


def remove_partial_files(directory: Path) -> None:
    """Remove what a process that was killed left unfinished in a directory."""
    for path in directory.glob(f".*{_SUFFIX}"):
        path.unlink(missing_ok=True)


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
