"""What the output goes to, and whether a display that redraws itself can be had there. Pure but for `look_around`."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TextIO

# Narrower, a table of agents says nothing any more.
LEAST_COLUMNS = 60


@dataclass(frozen=True)
class Surroundings:
    """is_terminal, encoding: of the stream that is written to. columns: its width, 0 if unknown.

    environ: of this process. is_notebook: this process is a notebook's kernel.
    """

    is_terminal: bool
    columns: int
    environ: Mapping[str, str] = field(default_factory=dict)
    is_notebook: bool = False
    encoding: str = "utf-8"

    def why_plain(self) -> str | None:
        """Return why only plain lines can be written, None if a display can be shown.

        FORCE_COLOR changes nothing about it: it asks for colours, and logs of CI systems that have it set are no
        place for a display.
        """
        if not self.is_terminal:
            return "the output is no terminal"
        # A kernel hands its variables on, and commands that a cell runs write into what looks like a terminal.
        if self.is_notebook or self.environ.get("JPY_PARENT_PID"):
            return "the output goes into a notebook"
        if self.environ.get("TERM", "") in ("", "dumb", "unknown"):
            return f"TERM={self.environ.get('TERM', '')} can't move its cursor"
        if self.environ.get("NO_COLOR"):
            return "NO_COLOR is set"
        if not self.encoding.lower().startswith("utf"):
            return f"the terminal's {self.encoding} lacks characters that errors and parameters may have"
        if self.columns < LEAST_COLUMNS:
            return f"the terminal has {self.columns} columns, and {LEAST_COLUMNS} are needed"
        return None


def look_around(stream: TextIO) -> Surroundings:
    """Return what a stream leads to."""
    try:
        is_terminal = stream.isatty()
        columns = os.get_terminal_size(stream.fileno()).columns if is_terminal else 0
    except (OSError, ValueError):  # closed, or no file at all
        is_terminal, columns = False, 0
    encoding = getattr(stream, "encoding", None) or "unknown"
    return Surroundings(is_terminal, columns, os.environ, _is_in_notebook(), encoding)


def _is_in_notebook() -> bool:
    """True in a notebook's kernel; IPython in a terminal has none."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None and hasattr(ipython, "get_ipython") else None
    return getattr(shell, "kernel", None) is not None
