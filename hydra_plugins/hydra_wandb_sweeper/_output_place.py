"""Where an attempt's output is, noted beside its result before it begins: for when it ends without a word."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from pathlib import Path

TRIAL_LOG = "trial.log"
# What of it is worth keeping in a run that has no log otherwise.
_TAIL_LINES = 200
_TAIL_BYTES = 64_000


def note_place(result_path: Path, output_dir: Path) -> None:
    """Note it, in one step of the file system; without it only the place of a dead process' log isn't known.

    It stays when the result says it too: ext4 without a journal looks at every inode that was deleted within five
    minutes before it takes another, and a sweep of short trials would delete thousands.
    """
    with contextlib.suppress(OSError):
        os.symlink(output_dir, _link(result_path))


def noted_place(result_path: Path) -> str | None:
    """Return the output directory, None if it isn't noted."""
    try:
        return os.readlink(_link(result_path))
    except OSError:
        return None


def _link(result_path: Path) -> Path:
    return result_path.with_suffix(".dir")


def log_of(output_dir: str | None) -> Path | None:
    """Return the log of an attempt that ran there, None if there is none."""
    path = Path(output_dir) / TRIAL_LOG if output_dir else None
    return path if path is not None and path.exists() else None


def log_tail(output_dir: str | None) -> list[str]:
    """Return the last lines of the log of an attempt that ran there, with their ends; none if there is no log."""
    path = log_of(output_dir)
    if path is None:
        return []
    try:
        with open(path, "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            lines = deque(file.read().decode(errors="replace").splitlines(), maxlen=_TAIL_LINES)
    except OSError:
        return []
    return [f"{line}\n" for line in lines]
