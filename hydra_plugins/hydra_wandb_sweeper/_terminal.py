"""A terminal that holds a display: drawn anew in place, while whatever is written scrolls by above it.

Nobody draws but who calls `update`: there is no thread, as agents that live in this process fork their trials.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TextIO

from ._terminal_mode import CalmKeys

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

# A log record with this attribute says what a display shows anyway; see shown_in_display.
_SHOWN = "is_shown_in_display"


def shown_in_display() -> dict[str, Any]:
    """Return the `extra` of a log record that isn't to be written above a display; files and pipes get it."""
    return {_SHOWN: True}


def log_terminal() -> TextIO | None:
    """Return the terminal that log lines go to, None if they go to none. A display belongs there too."""
    return next((handler.stream for handler in _stream_handlers() if _is_terminal(handler.stream)), None)


class TerminalDisplay:
    """stream: a terminal. Output of other programs to the same terminal isn't known here, and would tear it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._above = _Above(stream, self._write_above)
        self._replaced: list[tuple[logging.StreamHandler[Any], TextIO]] = []
        self._streams: dict[str, TextIO] = {}
        self._waiting: list[str] = []
        self._is_drawing = False
        self._console: Console | None = None
        self._live: Live | None = None
        self._keys = CalmKeys(stream.fileno())

    @property
    def is_on(self) -> bool:
        """True while there is a display."""
        return self._live is not None

    def begin(self) -> None:
        """Have a display from now on, empty at first."""
        from rich.console import Console
        from rich.live import Live

        _let_go_in_children()
        _displays.add(self)
        self._console = Console(file=self._stream)
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            vertical_overflow="crop",
        )
        with self._until_it_is_closed():
            self._keys.begin()
            self._live.start()
            self._redirect()

    def update(self, shown: RenderableType) -> None:
        """Draw it anew."""
        with self._until_it_is_closed():
            if self._live is not None and not _is_terminal(self._stream):
                raise OSError("the terminal is closed")  # rich draws nothing then, and says nothing
            if self._live is not None:
                with self._drawing():
                    self._measure()
                    self._live.update(shown, refresh=True)

    def end(self) -> None:
        """Take the display away, and leave the terminal as it was: lines go where they went before."""
        live, self._live = self._live, None
        self._is_drawing = True  # what signal handlers write now follows in _restore
        try:
            with self._until_it_is_closed():
                if live is not None:
                    live.stop()
        finally:
            # Also if Ctrl-C comes in between.
            with self._until_it_is_closed():
                if live is not None and self._console is not None:
                    self._console.show_cursor(True)
            self._keys.end()
            self._restore()
            self._is_drawing = False
            _displays.discard(self)

    def let_go(self) -> None:
        """In a forked child: the terminal and its display are the parent's; write to the streams as they are."""
        self._live = None
        self._waiting.clear()
        self._above.take_rest()
        self._restore()

    def _measure(self) -> None:
        """Look how large the terminal is now; rich would believe variables that may be older than its last change."""
        from rich.console import ConsoleDimensions

        assert self._console is not None
        size = os.get_terminal_size(self._stream.fileno())
        self._console.size = ConsoleDimensions(size.columns, size.lines)

    @contextlib.contextmanager
    def _until_it_is_closed(self) -> Iterator[None]:
        """A closed terminal is the end of its display, and of nothing else."""
        try:
            yield
        except OSError:
            self._live = None
            self._restore()

    # --- what is written above it ---

    def _redirect(self) -> None:
        """Handlers keep the stream that they were made with, so that replacing sys.stdout isn't enough."""
        for handler in _stream_handlers():
            if _is_terminal(handler.stream):
                self._replaced.append((handler, handler.stream))
                handler.setStream(self._above)
                handler.addFilter(_is_not_shown)
        for name in ("stdout", "stderr"):
            if _is_terminal(stream := getattr(sys, name)):
                self._streams[name] = stream
                setattr(sys, name, self._above)

    def _restore(self) -> None:
        for handler, stream in self._replaced:
            handler.setStream(stream)
            handler.removeFilter(_is_not_shown)
        for name, stream in self._streams.items():
            if getattr(sys, name) is self._above:
                setattr(sys, name, stream)
        self._replaced, self._streams = [], {}
        lines, self._waiting = self._waiting, []
        if text := "".join(f"{line}\n" for line in lines) + self._above.take_rest():
            with contextlib.suppress(OSError):
                self._stream.write(text)

    def _write_above(self, line: str) -> None:
        """Signal handlers write too, in the middle of a drawing: that is finished first."""
        self._waiting.append(line)
        if not self._is_drawing:
            with self._until_it_is_closed(), self._drawing():
                pass

    @contextlib.contextmanager
    def _drawing(self) -> Iterator[None]:
        """One at a time; afterwards what was to be written meanwhile."""
        from rich.text import Text

        assert self._console is not None
        self._is_drawing = True
        try:
            yield
            while self._waiting:
                # Wrapped by the terminal itself: copied from there, long lines are whole.
                self._console.print(Text.from_ansi(self._waiting[0]), soft_wrap=True)
                del self._waiting[0]
        finally:
            self._is_drawing = False


class _Above(io.TextIOBase):
    """Takes the place of a terminal's stream while there is a display: passes on whole lines."""

    def __init__(self, stream: TextIO, write_line: Callable[[str], None]) -> None:
        self._stream = stream
        self._write_line = write_line
        self._begun = ""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Of the terminal."""
        return self._stream.encoding

    def write(self, text: str) -> int:
        """Write what is complete; the rest of a line waits for its end."""
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            self._write_line(line)
        return len(text)

    def take_rest(self) -> str:
        """Return what was begun and not ended."""
        rest, self._begun = self._begun, ""
        return rest

    def isatty(self) -> bool:
        """Programs that ask want to know whether somebody reads it."""
        return True

    def fileno(self) -> int:
        """Of the terminal; what is written there directly goes into the display."""
        return self._stream.fileno()

    def writable(self) -> bool:
        """It is for nothing else."""
        return True


def _is_not_shown(record: logging.LogRecord) -> bool:
    return not getattr(record, _SHOWN, False)


def _is_terminal(stream: Any) -> bool:
    try:
        return bool(stream.isatty()) and not isinstance(stream, _Above)
    except (AttributeError, ValueError):  # no file, or a closed one
        return False


def _stream_handlers() -> list[logging.StreamHandler[Any]]:
    """All handlers that write into a stream that somebody gave them, those of the root logger first."""
    others = [logger for logger in logging.root.manager.loggerDict.values() if isinstance(logger, logging.Logger)]
    handlers = dict.fromkeys(handler for logger in (logging.root, *others) for handler in logger.handlers)
    return [
        handler
        for handler in handlers
        if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler)
    ]


_displays: set[TerminalDisplay] = set()


@lru_cache(maxsize=1)
def _let_go_in_children() -> None:
    """Trials are forked from this process, and must neither draw nor have their output changed."""
    os.register_at_fork(after_in_child=_let_go)


def _let_go() -> None:
    for display in _displays:
        display.let_go()
