"""How an agent lets its trial know that it has to end, apart from the signal that interrupts it.

SLURM sends its signals to every process of a job, so to trials too, and the warning of a time limit up to a minute
early. A trial heeds such a signal only once its agent has given notice.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal


def preempt_signal() -> signal.Signals:
    """Return the signal by which submitit has SLURM announce the end of a job."""
    return signal.Signals[f"SIG{os.environ.get('SUBMITIT_PREEMPT_SIGNAL', 'USR2')}"]


class Notice:
    """A pipe: what the agent writes stays readable for the trial and for whatever processes the trial starts.

    reader: the end that an interpreter was started with; None makes a new pipe.
    """

    def __init__(self, reader: int | None = None) -> None:
        self._writer: int | None = None
        if reader is None:
            reader, self._writer = os.pipe()
        self.reader = reader

    def give(self) -> None:
        """In the agent: give notice."""
        if self._writer is not None:
            with contextlib.suppress(BrokenPipeError):
                os.write(self._writer, b"!")

    def is_given(self) -> bool:
        """In the trial: True once the agent has given notice, or is gone."""
        return bool(select.select([self.reader], [], [], 0)[0])

    def read_only(self) -> None:
        """In a forked trial: close the agent's end, so that the end of the agent is noticed."""
        if self._writer is not None:
            os.close(self._writer)
            self._writer = None

    def close(self) -> None:
        """In the agent: the trial has ended."""
        self.read_only()
        with contextlib.suppress(OSError):
            os.close(self.reader)
