"""A terminal for tests: a pty, and what a person would see on it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

_TOKEN = re.compile(
    r"\x1b\[(?P<arguments>[0-9;?]*)(?P<command>[A-Za-z])|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|.", re.DOTALL
)


class Screen:
    """Draws what programs write; knows the controls that rich uses, and fails on others.

    above: lines that have scrolled away. has_cursor: it is visible.
    """

    def __init__(self, columns: int, lines: int) -> None:
        self.columns, self.lines = columns, lines
        self.above: list[str] = []
        self.rows = [[" "] * columns for _ in range(lines)]
        self.row = self.column = 0
        self.has_cursor = True

    def text(self) -> str:
        """All that was written and not erased: what has scrolled away, and the screen."""
        return "\n".join([*self.above, *("".join(row).rstrip() for row in self.rows)]).rstrip()

    def feed(self, text: str) -> None:
        """Take in what was written."""
        for token in _TOKEN.finditer(text):
            if (command := token["command"]) is not None:
                self._control(command, token["arguments"])
            else:
                self._put(token[0])

    def _put(self, character: str) -> None:
        if character == "\r":
            self.column = 0
        elif character == "\n":
            self._next_row()
        elif character == "\t":
            self.column = min(self.columns - 1, self.column // 8 * 8 + 8)
        elif character != "\x03":  # terminals ignore it
            assert character.isprintable(), f"{character!r} was written"
            if self.column == self.columns:
                self.column = 0
                self._next_row()
            self.rows[self.row][self.column] = character
            self.column += 1

    def _next_row(self) -> None:
        if self.row < self.lines - 1:
            self.row += 1
            return
        self.above.append("".join(self.rows.pop(0)).rstrip())
        self.rows.append([" "] * self.columns)

    def _control(self, command: str, arguments: str) -> None:
        if command == "m":
            return
        if arguments == "?25":
            self.has_cursor = command == "h"
            return
        number = int(arguments or (0 if command in "JK" else 1))
        if command == "A":
            self.row = max(0, self.row - number)
        elif command == "K" and number == 2:
            self.rows[self.row] = [" "] * self.columns
        else:
            raise AssertionError(f"unknown control: {arguments}{command}")


@dataclass
class TerminalProcess:
    """A program in a terminal of its own. pictures: its screen after each piece of output."""

    pid: int
    master: int
    screen: Screen
    pictures: list[str] = field(default_factory=list)
    written: str = ""
    status: int | None = None
    _rest: bytes = b""

    def press(self, keys: str) -> None:
        """Type something; \\x03 is Ctrl-C."""
        os.write(self.master, keys.encode())

    def read_until(self, condition: Callable[[TerminalProcess], object], what: str, timeout_s: float = 180.0) -> None:
        """Take in what it writes until the condition holds; fails with `what` when it doesn't in time."""
        deadline = time.monotonic() + timeout_s
        while not condition(self):
            assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}\n{self.screen.text()}"
            assert self._read(), f"it ended without: {what}\n{self.screen.text()}"

    def wait(self, timeout_s: float = 180.0) -> int:
        """Take in what it writes until it ends; returns its exit status."""
        deadline = time.monotonic() + timeout_s
        while self._read():
            assert time.monotonic() < deadline, f"not ended within {timeout_s} s\n{self.screen.text()}"
        _, status = os.waitpid(self.pid, 0)
        self.status = os.waitstatus_to_exitcode(status)
        return self.status

    def _read(self) -> bool:
        """Take in what there is, for a moment; False at the end."""
        if not select.select([self.master], [], [], 0.1)[0]:
            return True
        try:
            data = os.read(self.master, 65536)
        except OSError:  # Linux's way to say that nobody has the terminal open any more
            return False
        if not data:
            return False
        text = (self._rest + data).decode(errors="ignore")
        # Neither a character nor a control is cut in two.
        cut = re.search(r"\x1b(\[[0-9;?]*)?$", text)
        whole = text[: cut.start()] if cut else text
        self._rest = (self._rest + data)[len(whole.encode()) :]
        self.written += whole
        self.screen.feed(whole)
        picture = self.screen.text()
        if not self.pictures or self.pictures[-1] != picture:
            self.pictures.append(picture)
        return True


@contextlib.contextmanager
def in_terminal(
    command: Sequence[str], directory: str, environ: Mapping[str, str], columns: int = 100, lines: int = 40
) -> Iterator[TerminalProcess]:
    """Run a program in a terminal; what is left of it in the end is killed."""
    pid, master = pty.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            # Ctrl-C and the end of the terminal mean something, however the tests were started.
            for number in (signal.SIGINT, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            os.chdir(directory)
            os.execvpe(command[0], list(command), dict(environ))
        os._exit(127)
    set_size(master, columns, lines)
    process = TerminalProcess(pid, master, Screen(columns, lines))
    try:
        yield process
    finally:
        if process.status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        os.close(master)


def set_size(descriptor: int, columns: int, lines: int) -> None:
    """Give a terminal a size."""
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
