"""How a trial's process tells its agent that all is done, right before it exits.

For the system to take a process apart takes 4 ms, during which its agent can ask for the next trial.
"""

from __future__ import annotations

import contextlib
import os
import select


class Farewell:
    """A pipe for one byte, the exit code that the process is about to have."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        self._pipe = _identity(self._writer)

    # --- in the process ---

    def say(self, exit_code: int) -> None:
        """There is nothing left to do but to exit."""
        with contextlib.suppress(OSError):
            # A task may have closed all descriptors that it didn't know, and opened others of the same number.
            if _identity(self._writer) == self._pipe:
                os.write(self._writer, bytes([exit_code]))

    # --- in its agent ---

    def listen(self) -> None:
        """The process has been forked: what it says can be heard from now on."""
        os.close(self._writer)

    @property
    def reader(self) -> int:
        """The descriptor to wait for, -1 if nothing will come any more."""
        return self._reader

    def heard(self) -> int | None:
        """What was said, None if nothing was."""
        if self._reader < 0 or not select.select([self._reader], [], [], 0)[0]:
            return None
        said = os.read(self._reader, 1)
        self.close()
        return said[0] if said else None

    def close(self) -> None:
        """Nothing more will come."""
        if self._reader >= 0:
            os.close(self._reader)
            self._reader = -1


def _identity(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino
