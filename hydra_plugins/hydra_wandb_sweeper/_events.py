"""What has happened in a sweep, read from the ledger's files of events (see _ledger)."""

from __future__ import annotations

import heapq
import itertools
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

# Of the ledger, below the sweep directory.
DIRECTORY = ".sweep"
_PIECE_BYTES = 1 << 16


class EventReader:
    """Reads the events of all writers, each once.

    Files are opened to see whether there is more in them: only that makes a network file system ask its server. Those
    of agents that have ended, of which there are more and more, only if they have grown, should a launcher run the
    same agent again.
    """

    def __init__(self, directory: Path) -> None:
        self._events = directory / DIRECTORY / "events"
        self._offsets: dict[str, int] = {}
        self._ended: set[str] = set()

    def new_events(self) -> Iterator[dict[str, Any]]:
        """Yield what was written since the last call: in order of time, and each writer's in its own order.

        Never more than a piece of each file is held: what 10^5 trials left, parsed at once, would make this process
        so large that each fork of it took long, for good.
        """
        entries = list(os.scandir(self._events))
        files = [
            self._read(entry.name, entry.path)
            for entry in entries
            if entry.name not in self._ended or entry.stat().st_size != self._offsets[entry.name]
        ]
        return heapq.merge(*files, key=lambda event: float(event["time"]))

    def _read(self, name: str, path: str) -> Iterator[dict[str, Any]]:
        offset = self._offsets.get(name, 0)
        for line in _whole_lines(path, offset):
            event = json.loads(line)
            yield event
            offset += len(line)
            self._offsets[name] = offset
            if event["event"] == "agent_ended":
                self._ended.add(name)


def in_batches(events: Iterable[dict[str, Any]], size: int = 1000) -> Iterator[list[dict[str, Any]]]:
    """Yield lists of at most so many events, never an empty one."""
    rest = iter(events)
    return iter(lambda: list(itertools.islice(rest, size)), [])


def _whole_lines(path: str, offset: int) -> Iterator[bytes]:
    """Yield the whole lines from an offset on, with their ends. The file is open only while a piece of it is read."""
    rest = b""
    is_more = True
    while is_more:
        with open(path, "rb") as file:
            file.seek(offset)
            data = file.read(_PIECE_BYTES)
        offset += len(data)
        is_more = len(data) == _PIECE_BYTES
        # A writer may be in the middle of a line; the rest of it is read with the next piece, or the next time.
        whole, newline, end = data.rpartition(b"\n")
        if newline:
            yield from (rest + whole + newline).splitlines(keepends=True)
            rest = b""
        rest += end
