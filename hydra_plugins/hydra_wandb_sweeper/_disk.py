"""A sweep directory that can't be written to: found out before there is a sweep, said in a sentence afterwards."""

from __future__ import annotations

import contextlib
import errno
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from ._errors import SweepDirectoryError, SweepError
from ._files import naming, replacing

# What a sweep's own files need to begin with; trials need more, and how much only they know.
_ROOM_BYTES = 1 << 20
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def check_usable(directory: Path) -> None:
    """Errors: OSError if what a sweep's processes do in a directory can't be done there, for want of room too."""
    probe = directory / f".probe.{uuid.uuid4().hex}"
    linked = probe.with_suffix(".linked")
    try:
        with naming(directory):
            descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                _take_room(descriptor)
            finally:
                os.close(descriptor)  # where a network file system says that there is no room
            os.link(probe, linked)
    finally:
        for path in (linked, probe):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


def _take_room(descriptor: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, _ROOM_BYTES)
        return
    written = 0  # macOS
    while written < _ROOM_BYTES:
        written += os.write(descriptor, bytes(_ROOM_BYTES - written))


@contextlib.contextmanager
def before_the_sweep(directory: Path) -> Iterator[None]:
    """Errors of a sweep directory that is being prepared become SweepDirectoryErrors."""
    try:
        yield
    except OSError as error:
        if not _is_of(error, directory):
            raise
        raise SweepDirectoryError(
            f"hydra.sweep.dir={directory} can't be used: {words(error)}. No sweep was made. "
            f"{_remedy(error)}, or choose another hydra.sweep.dir."
        ) from error


@contextlib.contextmanager
def while_it_runs(directory: Path) -> Iterator[None]:
    """The same of a sweep directory that is in use."""
    try:
        yield
    except OSError as error:
        if not _is_of(error, directory):
            raise
        raise SweepDirectoryError(
            f"The sweep directory can't be written: {words(error)}. {_remedy(error)}; then the sweep goes on where "
            f"it was: hydra-sweep attach {directory}"
        ) from error


@contextlib.contextmanager
def output_file(output: Path) -> Iterator[Path]:
    """A file to write for a user, which takes the place of `output` if that goes well. Errors: SweepError."""
    with writing_output(output), replacing(output) as temporary:
        yield temporary


@contextlib.contextmanager
def writing_output(output: Path) -> Iterator[None]:
    """Errors of writing a file for a user become SweepErrors."""
    try:
        yield
    except OSError as error:
        said = (
            os.strerror(error.errno) if error.errno is not None else str(error)
        )  # pyarrow's words name another file
        raise SweepError(
            f"--output {output} can't be written: {said}. Name a file in a directory that exists and has "
            "room, and in which you may write."
        ) from error


def _is_of(error: OSError, directory: Path) -> bool:
    """True if an error is of a sweep directory or of what would be above it, and not of files of the user's."""
    names = [name for name in (error.filename, error.filename2) if isinstance(name, str | bytes | os.PathLike)]
    paths = [Path(os.fsdecode(name)).absolute() for name in names]
    if not paths:
        return error.errno in _FULL
    return any(path.is_relative_to(directory) or directory.is_relative_to(path) for path in paths)


def words(error: OSError) -> str:
    """The system's own words, and what they are about."""
    name = error.filename2 or error.filename
    return f"{error.strerror or error}" + (f" ({os.fsdecode(name)})" if name is not None else "")


def _remedy(error: OSError) -> str:
    return "Make room there" if error.errno in _FULL else "See to it that you may write there"
