"""Whoever looks on while this thread is busy with something that may last."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator

from ._terminal import log_terminal

_LOOK_S = 1.0


@contextlib.contextmanager
def looking_on(look: Callable[[], None]) -> Iterator[None]:
    """While active, `look` is called about every second by a thread, and by nobody else; it has ended afterwards."""
    ended = threading.Event()

    def look_on() -> None:
        while not ended.wait(_LOOK_S):
            look()

    thread = threading.Thread(target=look_on, name="onlooker", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def may_look_on_beside_tasks() -> bool:
    """True if a thread may look on, and write lines, while a task of the user's runs in this process.

    Not on a terminal, where somebody may type into a debugger's prompt and what the task prints shows that it goes
    on. And not beside a debugger, which stops all threads at a breakpoint, perhaps one that holds logging's lock.
    """
    return log_terminal() is None and not _is_debugged()


def _is_debugged() -> bool:
    monitoring = getattr(sys, "monitoring", None)  # from Python 3.12 on
    return sys.gettrace() is not None or (
        monitoring is not None and monitoring.get_tool(monitoring.DEBUGGER_ID) is not None
    )
