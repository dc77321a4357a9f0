"""What a task prints, as the lines of a run's console log."""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

log = logging.getLogger(__name__)

_CONTROLS = re.compile(r"(\n|\r|\x1b\[\d*A)")
_UP = re.compile(r"\x1b\[(\d*)A")
# How far up the cursor may go, for bars below one another.
_REACH = 64
# How many lines a line may lie behind and still be changed: a stream that is silent mustn't hold back the other.
_HELD = 2_000
STREAMS = ("stdout", "stderr")


@dataclass(eq=False, repr=False)
class _Line:
    number: int
    time: str
    text: str = ""


@dataclass(eq=False, repr=False)
class _Cursor:
    """Where a stream is written on. lines: its last ones."""

    lines: list[_Line] = field(default_factory=list)
    row: int = 0
    column: int = 0


@dataclass(frozen=True)
class Part:
    """Lines of a console log from number `first` on, as W&B's file_stream has them."""

    first: int
    lines: list[str]


class ConsoleLog:
    """Lines as a terminal would show them: a progress bar that is drawn over itself is one line.

    W&B's SDK (0.31) does the same, for both streams apart; lines are numbered as they begin. first: number of the
    first one. now: returns the time.
    """

    def __init__(self, first: int = 0, now: Callable[[], datetime] = lambda: datetime.now(timezone.utc)) -> None:
        self._first = first
        self._now = now
        self._cursors = {name: _Cursor() for name in STREAMS}
        self._lines: list[tuple[str, _Line]] = []
        self._dropped = 0
        self._changed: int | None = None
        self.size_chars = 0

    def start_at(self, first: int) -> None:
        """Set the number of the first line, before any has been taken."""
        self._first = first

    def write(self, stream: str, text: str) -> None:
        """Take what is written to a stream ("stdout" or "stderr")."""
        cursor = self._cursors[stream]
        for piece in _CONTROLS.split(text):
            if piece == "\n":
                # The line above may be empty; it becomes one when something follows.
                cursor.row, cursor.column = cursor.row + 1, 0
            elif piece == "\r":
                cursor.column = 0
            elif up := _UP.fullmatch(piece):
                cursor.row = max(0, cursor.row - int(up[1] or 1))
            elif piece:
                line = self._line(stream, cursor)
                end = cursor.column + len(piece)
                line.text = line.text[: cursor.column].ljust(cursor.column) + piece + line.text[end:]
                cursor.column = end
        self.size_chars += len(text)

    def _line(self, stream: str, cursor: _Cursor) -> _Line:
        newest = self._dropped + len(self._lines)
        while cursor.row >= len(cursor.lines):
            line = _Line(self._dropped + len(self._lines), self._now().strftime("%Y-%m-%dT%H:%M:%S.%f"))
            cursor.lines.append(line)
            self._lines.append((stream, line))
        surplus = max(0, len(cursor.lines) - _REACH)
        del cursor.lines[:surplus]
        cursor.row -= surplus
        line = cursor.lines[cursor.row]
        # Empty lines above it may be new as well.
        self._changed = min(newest, line.number, line.number if self._changed is None else self._changed)
        return line

    def take_changed(self) -> Part | None:
        """Return what has changed since the last call, with all that follows it; None if nothing has."""
        if self._changed is None:
            return None
        start, self._changed = max(self._changed - self._dropped, 0), None
        lines = [_told(stream, line) for stream, line in self._lines[start:]]
        return Part(self._first + self._dropped + start, lines)

    def repeat(self, part: Part) -> None:
        """What was taken has not arrived: take_changed is to return it again. Nothing was dropped meanwhile."""
        number = part.first - self._first
        self._changed = number if self._changed is None else min(number, self._changed)

    def drop_settled(self) -> str:
        """Forget lines that were taken and can't change any more, and return their text."""
        newest = self._dropped + len(self._lines)
        for cursor in self._cursors.values():
            old = sum(line.number < newest - _HELD for line in cursor.lines)
            if cursor.row < old:
                cursor.column = 0
            del cursor.lines[:old]
            cursor.row = max(0, cursor.row - old)
        open_lines = [cursor.lines[0].number for cursor in self._cursors.values() if cursor.lines]
        unsent = newest if self._changed is None else self._changed
        count = max(0, min([unsent, *open_lines]) - self._dropped)
        settled, self._lines = self._lines[:count], self._lines[count:]
        self._dropped += len(settled)
        return _text(settled)

    def text(self) -> str:
        """The lines that are held, for output.log."""
        return _text(self._lines)


def _text(lines: list[tuple[str, _Line]]) -> str:
    return "".join(f"{line.text.rstrip()}\n" for _, line in lines)


def _told(stream: str, line: _Line) -> str:
    mark = "ERROR " if stream == "stderr" else ""
    return f"{mark}{line.time} {line.text.rstrip()}"


class Recorder:
    """Copies what this process writes to sys.stdout and sys.stderr into a console log.

    In processes that are forked from this one it does nothing: the log is the parent's, and its lock perhaps held for
    ever. on_much: called when the log has grown by a lot.
    """

    def __init__(
        self, log: ConsoleLog, on_much: Callable[[], None] = lambda: None, much_chars: int = 1 << 23
    ) -> None:
        self.log = log
        # The same thread may come here twice, by a signal handler that prints.
        self.lock = threading.RLock()
        self._on_much = on_much
        self._much_chars = much_chars
        self._pid: int | None = None
        self._unheard: set[int] = set()
        self._streams: list[tuple[Any, Callable[[str], Any]]] = []

    def start(self) -> None:
        """Begin to copy."""
        self._pid = os.getpid()
        for name in STREAMS:
            stream = getattr(sys, name)
            write = stream.write
            try:
                # As W&B's SDK does it: others may hold this very object.
                stream.write = self._copying(name, write)
            except AttributeError:
                log.warning("sys.%s is a %s: what it is told isn't in the run's log", name, type(stream).__name__)
            else:
                self._streams.append((stream, write))

    def stop(self) -> None:
        """Copy no more; leave the streams as they were, unless somebody else has taken hold of them meanwhile."""
        self._pid = None
        for stream, write in self._streams:
            if getattr(stream.write, "recorder", None) is self:
                stream.write = write
        self._streams = []

    def ignore_this_thread(self) -> None:
        """What the calling thread prints isn't the task's."""
        self._unheard.add(threading.get_ident())

    def _copying(self, name: str, write: Callable[[str], Any]) -> Callable[[str], Any]:
        def copy(text: str) -> Any:
            written = write(text)
            if self._pid == os.getpid() and threading.get_ident() not in self._unheard:
                with self.lock:
                    self.log.write(name, text)
                    is_much = self.log.size_chars > self._much_chars
                    if is_much:
                        self.log.size_chars = 0
                if is_much:
                    self._on_much()
            return written

        copy.recorder = self  # type: ignore[attr-defined]
        return copy
