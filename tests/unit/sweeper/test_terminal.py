"""A terminal that holds a display, as a person sees it; and what it is afterwards."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import pty
import re
import sys
import termios
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TextIO

import pytest
from rich.rule import Rule
from rich.text import Text

from hydra_plugins.hydra_wandb_sweeper._terminal import TerminalDisplay, log_terminal, shown_in_display
from tests.terminal import Screen, set_size

log = logging.getLogger("tests.of_terminals")


@dataclass
class Terminal:
    """One that this very process writes to."""

    master: int
    stream: TextIO
    screen: Screen
    shown: TerminalDisplay | None = None

    def display(self) -> TerminalDisplay:
        """A display on it, to which standard error goes from now on."""
        sys.stderr = self.stream  # not in a fixture: pytest replaces it before the test
        self.shown = TerminalDisplay(self.stream)
        self.shown.begin()
        return self.shown

    def close(self) -> None:
        """As if its window were closed; once."""
        if self.master >= 0:
            os.close(self.master)
        self.master = -1

    def look(self) -> str:
        """What is on it now."""
        self.stream.flush()
        os.set_blocking(self.master, False)
        written = b""
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self.master, 65536):
                written += data
        self.screen.feed(written.decode())
        return self.screen.text()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    """A terminal of 40 columns, to which a logger writes."""
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")  # of a window that has been made smaller since
    master, slave = pty.openpty()
    set_size(slave, 40, 12)
    stream = os.fdopen(slave, "w", encoding="utf-8")
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("[%(levelname)s] %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    stderr = sys.stderr
    terminal = Terminal(master, stream, Screen(40, 12))
    try:
        yield terminal
    finally:
        if terminal.shown is not None:
            terminal.shown.end()
        sys.stderr = stderr
        log.removeHandler(handler)
        terminal.close()
        with contextlib.suppress(OSError):
            stream.close()


def test_a_display_is_drawn_in_place(terminal: Terminal) -> None:
    display = terminal.display()
    display.update("one\ntwo\nthree")
    assert terminal.look() == "one\ntwo\nthree"
    display.update("four\nfive")
    assert terminal.look() == "four\nfive"
    assert not terminal.screen.has_cursor


def test_a_display_is_as_wide_as_its_terminal_is_now(terminal: Terminal) -> None:
    display = terminal.display()
    display.update(Rule(characters="-"))
    assert terminal.look() == "-" * 40
    set_size(terminal.stream.fileno(), 30, 12)
    display.update(Rule(characters="-"))
    assert terminal.look() == "-" * 30


def test_what_is_logged_and_printed_scrolls_by_above_it(terminal: Terminal) -> None:
    display = terminal.display()
    display.update("the\ndisplay")
    log.info("[red]first[/red] \x1b[31mred\x1b[0m")
    print("second", file=sys.stderr)
    log.warning("third")
    assert terminal.look() == "[INFO] [red]first[/red] red\nsecond\n[WARNING] third\nthe\ndisplay"
    display.update("another\none")
    assert terminal.look().endswith("[WARNING] third\nanother\none")


def test_long_lines_are_whole_and_tear_nothing(terminal: Terminal) -> None:
    display = terminal.display()
    path = "/" + "x" * 90
    display.update("the\ndisplay")
    log.info(path)
    assert terminal.look().replace("\n", "") == f"[INFO] {path}thedisplay"
    display.update("again")
    assert terminal.look().endswith("\nagain")
    assert "the" not in terminal.screen.text()


def test_many_lines_scroll_away_and_the_display_stays(terminal: Terminal) -> None:
    display = terminal.display()
    display.update("the\ndisplay")
    for number in range(30):
        log.info("line %d", number)
        display.update(f"the\ndisplay {number}")
        terminal.look()  # nobody else empties it
    assert terminal.look() == "\n".join([*(f"[INFO] line {n}" for n in range(30)), "the", "display 29"])


def test_what_a_display_shows_anyway_is_not_written_above_it(terminal: Terminal) -> None:
    display = terminal.display()
    elsewhere = io.StringIO()
    other = logging.StreamHandler(elsewhere)
    log.addHandler(other)
    try:
        log.info("how far it is", extra=shown_in_display())
    finally:
        log.removeHandler(other)
    assert terminal.look() == ""
    assert elsewhere.getvalue() == "how far it is\n", "files and pipes get it"
    display.end()
    log.info("how far it is", extra=shown_in_display())
    assert terminal.look() == "[INFO] how far it is"


def test_afterwards_the_terminal_is_as_it_was(terminal: Terminal) -> None:
    display = terminal.display()
    display.update("the\ndisplay")
    log.info("said")
    sys.stderr.write("begun, and not ")
    display.end()
    display.end()
    sys.stderr.write("ended\n")
    log.info("last")
    assert terminal.look() == "[INFO] said\nbegun, and not ended\n[INFO] last"
    assert terminal.screen.has_cursor
    assert sys.stderr is terminal.stream
    assert [handler.stream for handler in log.handlers] == [terminal.stream]  # type: ignore[attr-defined]
    assert all(not handler.filters for handler in log.handlers)


def test_a_forked_process_writes_as_if_there_were_no_display(terminal: Terminal) -> None:
    display = terminal.display()
    display.update("the\ndisplay")
    sys.stderr.write("begun by the parent, ")
    pid = os.fork()
    if pid == 0:
        log.info("from the child")
        print("it says", file=sys.stderr, flush=True)
        display.update("not this")
        os._exit(0 if sys.stderr is terminal.stream and not display.is_on else 1)
    _, status = os.waitpid(pid, 0)
    assert status == 0
    assert terminal.look() == "the\ndisplay[INFO] from the child\nit says"
    sys.stderr.write("ended by the parent\n")
    assert "begun by the parent, ended by the parent" in terminal.look()


def test_a_closed_terminal_is_the_end_of_its_display_only(terminal: Terminal) -> None:
    display = terminal.display()
    display.update("the\ndisplay")
    terminal.close()
    display.update("nobody sees this")
    assert not display.is_on
    assert sys.stderr is terminal.stream
    display.update("nor this")


def test_what_a_signal_handler_writes_during_a_drawing_follows_it(terminal: Terminal) -> None:
    display = terminal.display()

    signals = ["SIGINT"]

    class Interrupted:
        def __rich__(self) -> str:
            while signals:
                log.warning("interrupted by %s", signals.pop())
            return "the\ndisplay"

    display.update(Interrupted())  # type: ignore[arg-type]
    shown = terminal.look()
    assert shown.startswith("[WARNING] interrupted by SIGINT")
    assert re.findall("display", shown) == ["display"]


def test_a_display_belongs_where_the_log_goes(terminal: Terminal) -> None:
    assert log_terminal() is terminal.stream
    (handler,) = log.handlers
    log.removeHandler(handler)
    log.addHandler(logging.StreamHandler(io.StringIO()))
    try:
        assert log_terminal() is None
    finally:
        log.handlers[:] = [handler]


def test_no_thread_is_started_for_it(terminal: Terminal) -> None:
    """Agents fork their trials from a process that has a display."""
    before = threading.enumerate()  # of other tests, too
    display = terminal.display()
    display.update("the display")
    log.info("said")
    assert threading.enumerate() == before


def test_ctrl_c_loses_nothing_of_what_is_yet_to_be_shown_and_writes_nothing(terminal: Terminal) -> None:
    settings = termios.tcgetattr(terminal.master)
    for number in range(5):
        terminal.stream.write(f"before {number}\n")
    terminal.look()
    display = terminal.display()
    # More than the 4 KB that are safe on the reader's side, and less than there is room for.
    for number in range(140):
        display.update(Text(f"one\ntwo\nthree {number}"))
    # Ctrl-C, and Ctrl-D so that reading returns when the terminal has seen both.
    os.write(terminal.master, b"\x03\x04")
    assert os.read(terminal.stream.fileno(), 10) == b""
    log.info("interrupted")
    display.update(Text("three\nfour\nfive"))
    before = "before 0\nbefore 1\nbefore 2\nbefore 3\nbefore 4\n[INFO] interrupted"
    assert terminal.look() == f"{before}\nthree\nfour\nfive"
    display.end()
    assert terminal.look() == before
    assert termios.tcgetattr(terminal.master) == settings
