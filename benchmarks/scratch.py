"""Directories for what benchmarks write, deleted only when nothing is measured any more.

ext4 without a journal, as on virtual machines, leaves the inodes of deleted files alone for five minutes, and looks
at every one of them before it takes another: in the neighbourhood of some thousand files that were just deleted, a
new one takes 1 ms instead of 10 us. A trial makes a dozen. What one benchmark cleans up, the next would pay for.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT_VARIABLE = "BENCHMARKS_SCRATCH"
_SETTLED_US = 30.0
# ext4's five minutes, and one more in which what was deleted is written.
_PATIENCE_S = 400.0
_AGAIN_S = 10.0


@contextlib.contextmanager
def scratch() -> Iterator[str]:
    """A new directory, for use like tempfile.TemporaryDirectory."""
    yield tempfile.mkdtemp(dir=_root())


@functools.cache
def _root() -> str:
    if given := os.environ.get(ROOT_VARIABLE):
        return given
    root = tempfile.mkdtemp(prefix="benchmarks-")
    # What a server or an agent still writes there while it ends isn't worth an error.
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    return root


def new_file_us(directory: Path, number: int = 20) -> float:
    """How many microseconds it takes to make one of the few files of a new directory, as trials do; all stay."""
    taken = []
    for _ in range(number):
        started_s = time.perf_counter()
        place = tempfile.mkdtemp(dir=directory)
        for name in "abc":
            os.close(os.open(os.path.join(place, name), os.O_CREAT | os.O_WRONLY))
        taken.append((time.perf_counter() - started_s) * 1e6 / 4)
    return statistics.median(taken)


def wait_until_settled(
    measure: Callable[[], float],
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> float:
    """Wait until the file system has got over what was deleted before; returns what a new file takes then, in us.

    measure: as new_file_us. After 400 s it is taken as it is: some file systems are slow by themselves.
    """
    deadline_s = clock() + _PATIENCE_S
    while (taken_us := measure()) > _SETTLED_US and clock() < deadline_s:
        sleep(_AGAIN_S)
    return taken_us
