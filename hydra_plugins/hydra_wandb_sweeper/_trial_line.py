"""The overrides of one trial as one line of text, and back.

A list of trials (`hydra.sweeper.trials`) is made of these on a server: W&B's tables show them as one would type them,
and an agent turns them into overrides with nothing else at hand.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable

# What the shell's rules, by which shlex takes a line apart, give a meaning.
_SPECIAL = re.compile(r"[\s'\"\\]")
_QUOTES = re.compile(r"['\"\\]")
_UNQUOTED = re.compile(r"[^ \t\r\n]+")


def split_line(line: str) -> list[str]:
    """Return the overrides of a line, which is quoted as on a command line.

    Errors: ValueError for a quote that isn't closed.
    """
    # shlex looks at character after character, in a list of 10^5 lines for seconds.
    return shlex.split(line) if _QUOTES.search(line) else _UNQUOTED.findall(line)


def join_line(overrides: Iterable[str]) -> str:
    """Inverse of split_line, with as few quotes as possible: people read it."""
    return " ".join(map(_quote, overrides))


def _quote(override: str) -> str:
    if override and not _SPECIAL.search(override):
        return override
    if '"' not in override and "\\" not in override:
        return f'"{override}"'
    return shlex.quote(override)


def line_values(line: str) -> dict[str, str]:
    """Return key -> override text of a line's overrides; keys without `+`, those that are deleted with `~`.

    Keys hold no `=`, so that nothing needs to be parsed.
    """
    pairs = (override.partition("=") for override in split_line(line))
    return {key.lstrip("+"): value for key, _, value in pairs}
