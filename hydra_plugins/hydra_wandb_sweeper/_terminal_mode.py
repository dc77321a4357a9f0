"""What a terminal does by itself when a key is pressed, while a display is on it."""

from __future__ import annotations

import contextlib
import os

# Of the list that termios.tcgetattr returns.
_LOCAL_FLAGS = 3


class CalmKeys:
    """While it is on, Ctrl-C neither throws away what was written and not yet shown nor writes `^C` somewhere.

    Of a display that is drawn in place, half would be missing, and the next drawing would begin in the wrong line.
    See termios(3), NOFLSH and ECHOCTL. A terminal that a killed process leaves like this lacks nothing but the `^C`.

    descriptor: of a terminal.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._flags_before: int | None = None

    def begin(self) -> None:
        """Change the terminal's settings; leaves it as it is where that can't be done."""
        import termios

        self._flags_before = self._change(termios.NOFLSH | termios.ECHOCTL, termios.NOFLSH)

    def end(self) -> None:
        """Give the terminal back what it had; other settings may have been changed meanwhile."""
        import termios

        if self._flags_before is not None:
            self._change(termios.NOFLSH | termios.ECHOCTL, self._flags_before)
        self._flags_before = None

    def _change(self, mask: int, flags: int) -> int | None:
        """Set the flags of the mask; returns what they all were before, None if that can't be done."""
        import termios

        if self._is_in_background():
            return None
        with contextlib.suppress(OSError, termios.error):
            settings = termios.tcgetattr(self._descriptor)
            before: int = settings[_LOCAL_FLAGS]
            settings[_LOCAL_FLAGS] = before & ~mask | flags & mask
            termios.tcsetattr(self._descriptor, termios.TCSANOW, settings)
            return before
        return None

    def _is_in_background(self) -> bool:
        """A process that the shell runs in the background would be stopped for changing settings (SIGTTOU)."""
        try:
            return os.tcgetpgrp(self._descriptor) != os.getpgrp()
        except OSError:  # not the terminal that sends signals to this process
            return False
