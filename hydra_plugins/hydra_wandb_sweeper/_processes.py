"""Processes on this machine that another process has started, known by their ids."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

_TERMINAL_SIGNALS = (signal.SIGINT, signal.SIGHUP)
_STREAMS = (0, 1, 2)


def is_alive(pid: int, marker: str) -> bool:
    """True if a process runs. marker: a part of its command line, which tells it from a later one with its id."""
    if not Path("/proc/self").exists():
        with contextlib.suppress(PermissionError):
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                return False
        return True
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX" and marker in command


def process_start(pid: int) -> str | None:
    """Return when a process started, in the system's own words; None if there is none, or the system doesn't say.

    Together with the pid it names one process for ever.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return fields[19] if fields[0] not in "ZX" else None


def terminate(pid: int) -> None:
    """Send SIGTERM to a process's children, to itself if it has none.

    submitit's controller of a local job waits for its tasks; with hydra.launcher.setup a shell waits for it in turn,
    which would die of the signal and leave its child running.
    """
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        children = []
    for target in [int(child) for child in children] or [pid]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(target, signal.SIGTERM)


def kill(pid: int, started: str | None) -> None:
    """Send SIGKILL to a process, unless its id is another one's by now. started: see process_start."""
    if process_start(pid) == started:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def forget_dead_terminal() -> None:
    """Send what can't be written to a closed terminal nowhere: Python would fail on it at its exit (status 120)."""
    for stream, descriptor in ((sys.stdout, 1), (sys.stderr, 2)):
        try:
            stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, descriptor)
            os.close(nowhere)


@contextlib.contextmanager
def apart_from_terminal() -> Iterator[None]:
    """While active, started processes ignore Ctrl-C and the end of the terminal, and hold no stream of this process.

    An ignored signal stays ignored in the program that a process starts. Whoever reads this process's output to its
    end would wait for theirs.
    """
    # Only the main thread may say what a signal does.
    mine = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, signal.SIG_IGN) for number in _TERMINAL_SIGNALS if mine}
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    kept = [os.dup(descriptor) for descriptor in _STREAMS]
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in _STREAMS:
        os.dup2(nowhere, descriptor)
    os.close(nowhere)
    try:
        yield
    finally:
        for descriptor, own in zip(_STREAMS, kept, strict=True):
            os.dup2(own, descriptor)
            os.close(own)
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
