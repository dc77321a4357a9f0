"""The fenced blocks of a page, and what their markers say.

A marker is an HTML comment on the line before the fence (a blank line may stand between them), so that readers of the
page don't see it:

    <!-- not run: REASON -->      why the block can't be run here
    <!-- file: NAME -->           the block is the content of that file of the scratch project
    <!-- status: N -->            the last command of the block ends with that exit status
    <!-- on SLURM -->             it is run where the tests of a SLURM cluster are
    <!-- with: OVERRIDES -->      what the tests add to its last command: their cluster is small and has no GPUs
    <!-- before: COMMAND -->      what the tests do first, so that there is what the block speaks of
    <!-- where: NAME = VALUE -->  what the tests put in the place of a name that stands for the reader's own
    <!-- until: FILE -->          it goes on until Ctrl-C, which the tests press once that file is there
    <!-- part of: NAME -->        it is a part of a run that a test plays, and is run or looked for there
    <!-- new project -->          this block and those after it have a scratch project of their own, empty at first
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

_RUN = ("bash", "console", "python")

_FENCE = re.compile(r"^(?P<indent> *)(?P<fence>```+|~~~+)(?P<language>[\w-]*) *$")
_NAMES = "not run|file|status|on SLURM|with|before|where|until|part of|new project"
_MARKER = re.compile(rf"^ *<!-- (?P<name>{_NAMES})(?:: (?P<value>.+?))? -->$")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    line: number of its first line in the page, from 1. not_run: the reason. file: what it is the content of.
    status: exit status of its last command. is_for_slurm: it is run on a cluster. added: to its last command there.
    before: a command that is run first. where: a name, and what is run in its place. until: the file waited for.
    part_of: the name of what it is a part of. starts_anew: in another scratch project than the blocks before it.
    """

    page: Path
    line: int
    language: str
    text: str
    not_run: str | None = None
    file: str | None = None
    status: int = 0
    is_for_slurm: bool = False
    added: str = ""
    before: str = ""
    where: tuple[str, str] = ("", "")
    until: str | None = None
    part_of: str | None = None
    starts_anew: bool = False

    @property
    def is_run_here(self) -> bool:
        """True if a test that needs nothing else runs it, or writes its file."""
        has_meaning = self.language in _RUN or self.file is not None
        return has_meaning and self.not_run is None and self.part_of is None and not self.is_for_slurm

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


@dataclass(frozen=True)
class Command:
    """One command of a console block. shown: the lines that the page shows below it, `…` for what differs."""

    text: str
    shown: tuple[str, ...]


def blocks_of(page: Path) -> list[Block]:
    """Return the fenced blocks of a page, in its order. Raises: ValueError for a fence that is never closed."""
    found: list[Block] = []
    markers: dict[str, str] = {}
    lines = iter(enumerate(page.read_text(encoding="utf-8").splitlines(), start=1))
    for number, line in lines:
        if marker := _MARKER.match(line):
            markers[marker["name"]] = marker["value"] or ""
        elif opening := _FENCE.match(line):
            content: list[str] = []
            for _, inner in lines:
                if inner.strip() == opening["fence"]:
                    break
                content.append(inner)
            else:
                raise ValueError(f"{page.name}:{number}: the block is never closed")
            found.append(_block(page, number + 1, opening["language"], content, markers))
            markers = {}
        elif line.strip():
            markers = {}
    return found


def _block(page: Path, line: int, language: str, content: list[str], markers: dict[str, str]) -> Block:
    name, _, value = markers.get("where", "").partition(" = ")
    return Block(
        page,
        line,
        language,
        textwrap.dedent("\n".join(content)) + "\n",
        not_run=markers.get("not run"),
        file=markers.get("file"),
        status=int(markers.get("status", 0)),
        is_for_slurm="on SLURM" in markers,
        added=markers.get("with", ""),
        before=markers.get("before", ""),
        where=(name, value),
        until=markers.get("until"),
        part_of=markers.get("part of"),
        starts_anew="new project" in markers,
    )


def commands_of(block: Block) -> list[Command]:
    """Return the commands of a console block: lines that begin with `$ `, with those that continue them.

    A line continues the one before it if that ends with a backslash.
    """
    commands: list[Command] = []
    is_continued = False
    for line in block.text.splitlines():
        if is_continued:
            commands[-1] = Command(f"{commands[-1].text}\n{line}", ())
        elif line.startswith("$ "):
            commands.append(Command(line.removeprefix("$ "), ()))
        elif commands:
            last = commands[-1]
            commands[-1] = Command(last.text, (*last.shown, line))
            continue
        is_continued = line.endswith("\\")
    return commands


def first_line_missing(shown: tuple[str, ...], printed: str) -> str | None:
    """Return the first shown line that was not printed, None if all were, in their order.

    `…` in a shown line stands for anything, and what was printed may have more lines.
    """
    printed_lines = iter(printed.splitlines())
    for line in (line for line in shown if line.strip("… ")):
        pattern = re.compile(".*".join(re.escape(part) for part in line.strip().split("…")))
        if not any(pattern.search(candidate) for candidate in printed_lines):
            return line
    return None
