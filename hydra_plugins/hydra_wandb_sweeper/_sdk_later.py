"""What is done for a trial's run beside the running task: above all, opening it with W&B's SDK only after a while.

A run that lasts needs what only the SDK gives: system metrics, and stopping by the server. A short one doesn't, and
to start the SDK would take longer than the trial.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

# After the task itself has imported W&B: by then it has opened the run, if it means to. Two that open it at the same
# time would open it twice.
_TASK_OPENS_S = 60.0
_BEAT_S = 15.0
# The server may be away for a while.
_TRIES = 10
_FORK_WAIT_S = 10.0

# Held while the SDK is being imported and started: a process that the task forks meanwhile would inherit import locks
# that nobody releases.
_opening = threading.RLock()
_has_fork_guard = False


class SdkLater:
    """A thread that creates the run, opens it with the SDK after `after_s`, and keeps it alive until then.

    create: makes the run known to the server. open_run: opens it; not called once has_run() says that the task has
    opened it itself. beat: a sign of life, with what has been printed since the last one.
    """

    def __init__(
        self,
        after_s: float,
        *,
        create: Callable[[], None],
        open_run: Callable[[], None],
        has_run: Callable[[], bool],
        beat: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._after_s = after_s
        self._create = create
        self._open_run = open_run
        self._has_run = has_run
        self._beat = beat
        self._clock = clock
        self._imported_at: float | None = None
        self._is_ended = False
        self._has_tried = threading.Event()
        self._refusal: Exception | None = None
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._work, name="sdk-later", daemon=True)
        self.is_open = False

    def start(self) -> None:
        """Begin."""
        _guard_forks()
        self._thread.start()

    def wait_until_created(self) -> None:
        """Return once the run is known to the server. Errors: those of `create`."""
        self._has_tried.wait()
        if self._refusal is not None:
            raise self._refusal

    def hurry(self) -> None:
        """Beat now; open the run if that is still to come."""
        self._after_s = 0.0
        self._wake.set()

    def note_import(self) -> None:
        """W&B has been imported, by the calling thread."""
        if threading.current_thread() is not self._thread:
            self._imported_at = self._clock()

    @property
    def is_alive(self) -> bool:
        """True until it has ended, or left the run to the task."""
        return self._thread.is_alive()

    def end(self) -> bool:
        """Stop; if the run is just being created or opened, wait for that. Returns whether it has been opened."""
        self._is_ended = True
        self._wake.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()
        return self.is_open

    def _work(self) -> None:
        try:
            self._create()
        except Exception as error:  # noqa: BLE001 (it is for who waits for it)
            self._refusal = error
            return
        finally:
            self._has_tried.set()
        tries = _TRIES
        self._pause(self._after_s)
        while not self._is_ended:
            if "wandb" in sys.modules and not self.is_open and self._has_run():
                return  # the task's own: all is up to it
            if tries and not self.is_open and self._is_due():
                tries -= 1
                self._open()
            self._try_beat()
            self._pause(_BEAT_S)

    def _pause(self, seconds: float) -> None:
        self._wake.wait(seconds)
        if not self._is_ended:
            self._wake.clear()

    def _is_due(self) -> bool:
        return self._imported_at is None or self._clock() - self._imported_at >= _TASK_OPENS_S

    def _open(self) -> None:
        try:
            with _opening:
                self._open_run()
            self.is_open = True
        except Exception:
            # What was printed and returned is recorded without it.
            log.exception("W&B's SDK can't open the run: there are no system metrics")

    def _try_beat(self) -> None:
        try:
            self._beat()
        except Exception as error:  # noqa: BLE001 (the next one will say it all; the end of the run is patient)
            log.warning("The run's log can't be sent now: %s", error)


def _guard_forks() -> None:
    global _has_fork_guard
    if not _has_fork_guard:
        _has_fork_guard = True
        guard = _ForkGuard()
        os.register_at_fork(before=guard.before, after_in_parent=guard.after, after_in_child=guard.in_child)


class _ForkGuard:
    """Makes forks wait while the SDK is being opened. Not for ever: the opening may need a lock of who forks."""

    def __init__(self) -> None:
        self._is_held = False

    def before(self) -> None:
        self._is_held = _opening.acquire(timeout=_FORK_WAIT_S)

    def after(self) -> None:
        if self._is_held:
            _opening.release()

    def in_child(self) -> None:
        global _opening
        _opening = threading.RLock()
