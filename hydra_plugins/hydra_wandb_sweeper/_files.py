"""Small JSON files that many processes share, on a file system that may be NFS: written whole, created by one."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any


def write_whole(path: Path, content: object) -> None:
    """Write JSON so that readers see all of it or what was there before. Errors: OSError, of this path."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content), encoding="utf-8")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to write, which takes the place of `path` if that goes well, and else leaves nothing behind.

    Errors: OSError, of this path.
    """
    temporary = _temporary(path)
    with naming(path):
        try:
            yield temporary
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Errors of writing say which file they are about: a full disk's name none, others a temporary one."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            error.filename, error.filename2 = str(path), None
        raise


def append_durably(path: Path, data: bytes) -> None:
    """Append to a file that nobody else writes; on disk when it returns. Errors: OSError; then nothing was appended.

    A full disk takes the beginning of what is written to it, which would spoil what is appended next.
    """
    with naming(path):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        written = 0
        try:
            while written < len(data):
                written += os.write(descriptor, data[written:])
            os.fsync(descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, os.fstat(descriptor).st_size - written)
            raise
        finally:
            os.close(descriptor)


def create_once(path: Path, content: object) -> bool:
    """Create a JSON file with all its content; False if the name is taken. Exactly one of several callers gets True.

    It relies on link() failing if the name is taken, which holds on NFS too.
    """
    return create_first((path,), content) is not None


def create_first(paths: Iterable[Path], content: object) -> Path | None:
    """The same with the first of several names that is free; returns it, or None if there was none.

    paths: of one directory. The content is written once, however many names are taken: agents that want the next
    number at the same time find many of them taken.
    """
    names = iter(paths)
    path = next(names)
    temporary = _temporary(path)
    try:
        with naming(path):
            temporary.write_text(json.dumps(content), encoding="utf-8")
            return next((name for name in itertools.chain((path,), names) if _link(temporary, name)), None)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _link(temporary: Path, path: Path) -> bool:
    try:
        os.link(temporary, path)
    except FileExistsError:
        # NFS repeats a request whose answer was lost: then the link is ours although it says it exists.
        return os.stat(temporary).st_nlink == 2
    return True


def read_json(path: Path) -> dict[str, Any] | None:
    """Read a JSON object, None if there is no such file."""
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return content


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}")
