"""What of a sweep has arrived at a target: a file of JSON lines beside the data that is synced.

Every line says that something is done, and is on disk before the next thing begins. What is done but wasn't noted is
done once more; everything that is sent may be sent twice.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ._client import SweepRef
from ._errors import SweepError


def journal_path(server_directory: Path, source: SweepRef, url: str) -> Path:
    """Return where the journal of a sweep and a target server is. url: of the target's API.

    In the embedded server's directory, so that it doesn't matter by what the sweep was named.
    """
    place = urlsplit(url)
    host = f"{place.hostname}-{place.port}" if place.port else place.hostname
    return server_directory / f"sync-{host}-{source.sweep_id}.jsonl"


class Journal:
    """One sweep's journal, owned by this process until it ends. Its methods may be called by several threads.

    target: entity/project of the target; what the file says of others is left alone. read_only: nothing is created
    and nothing locked. Errors: SweepError if another process syncs the same sweep.
    """

    def __init__(self, path: Path, target: str, *, read_only: bool = False) -> None:
        self.path = path
        self._target = target
        self._lock = threading.Lock()
        self._sweep_id: str | None = None
        self._runs: dict[str, str] = {}
        self._known: set[str] = set()
        self._lines: dict[tuple[str, str, str], int] = {}
        self._file = -1 if read_only else _open_alone(path)
        for event in _events(path):
            if event.get("target") == target:
                self._apply(event)

    def close(self) -> None:
        """Let others write it."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    @property
    def sweep_id(self) -> str | None:
        """The target's sweep, None if none is known."""
        return self._sweep_id

    def has_run(self, run_id: str, fingerprint: str) -> bool:
        """True if all of a run has arrived as it is now."""
        return self._runs.get(run_id) == fingerprint

    def knows_run(self, run_id: str) -> bool:
        """True if some version of a run has arrived, wholly or in part."""
        return run_id in self._known

    def lines_of(self, run_id: str, fingerprint: str, stream: str) -> int:
        """Return how many lines of a stream of a run, as it is now, have arrived."""
        return self._lines.get((run_id, fingerprint, stream), 0)

    def note_sweep(self, sweep_id: str) -> None:
        """The target has a sweep for this one."""
        self._note(event="sweep", sweep_id=sweep_id)

    def note_lines(self, run_id: str, fingerprint: str, stream: str, count: int) -> None:
        """So many lines of a run's stream have arrived."""
        self._note(event="lines", run_id=run_id, fingerprint=fingerprint, stream=stream, count=count)

    def note_run(self, run_id: str, fingerprint: str) -> None:
        """All of a run has arrived."""
        self._note(event="run", run_id=run_id, fingerprint=fingerprint)

    def _apply(self, event: dict[str, Any]) -> None:
        if event["event"] == "sweep":
            self._sweep_id = event["sweep_id"]
            return
        self._known.add(event["run_id"])
        if event["event"] == "run":
            self._runs[event["run_id"]] = event["fingerprint"]
        elif event["event"] == "lines":
            self._lines[event["run_id"], event["fingerprint"], event["stream"]] = event["count"]

    def _note(self, **event: Any) -> None:
        with self._lock:
            os.write(self._file, json.dumps({"target": self._target, **event}).encode() + b"\n")
            os.fsync(self._file)
            self._apply(event)


def _open_alone(path: Path) -> int:
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        # The operating system gives it back however the process ends.
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(file)
        raise SweepError(f"Another process syncs this sweep now: {path} is locked. Wait for its end.") from error
    size = os.fstat(file).st_size
    if size and os.pread(file, 1, size - 1) != b"\n":
        os.write(file, b"\n")  # its last writer was killed in the middle of a line
    return file


def _events(path: Path) -> Iterator[dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return
    for line in text.splitlines():
        try:
            yield json.loads(line)
        except ValueError:  # half a line, see _open_alone
            continue
