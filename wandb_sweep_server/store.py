"""Everything the server knows, behind one thread that may write it."""

from __future__ import annotations

import asyncio
import secrets
import string
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from .agents import Agents
from .artifacts import Artifacts
from .blobs import Blobs
from .clock import Clock, Liveness
from .database import Database
from .durable import remove_partial_files
from .files import Files, remove_run
from .filestream import StreamPost
from .observations import Observations
from .projects import Projects
from .records import Run, RunFile
from .runs import Runs
from .suggestions import Suggestions
from .sweeps import Sweeps
from .writer import Writer

T = TypeVar("T")

_ALPHABET = string.ascii_lowercase + string.digits


@dataclass(frozen=True)
class Limits:
    """crash_timeout_s: silence after which a run counts as crashed. unstarted_grace_s: how long a run that was handed
    out may take to start. max_losses: how often a lost run is offered again. body_bytes, file_bytes: of requests.
    artifact_file_bytes: of one file of an artifact. manifest_bytes: of the list of its files.
    open_sweep_timeout_s: for how long agents of an open sweep may be expected, who may wait in a cluster's queue."""

    crash_timeout_s: float = 300.0
    unstarted_grace_s: float = 60.0
    max_losses: int = 3
    body_bytes: int = 64 * 2**20
    file_bytes: int = 100 * 2**20
    artifact_file_bytes: int = 2**31
    manifest_bytes: int = 64 * 2**20
    open_sweep_timeout_s: float = 7 * 86_400.0


def new_name() -> str:
    """A run or sweep id as W&B's are: 8 lower-case letters and digits."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(8))


class Store:
    """The parts of the server's state. directory: holds the database and the files."""

    def __init__(self, directory: Path, limits: Limits, clock: Clock | None = None) -> None:
        clock = clock or Clock()
        self._liveness = liveness = Liveness(clock)
        self._attendance = attendance = Liveness(clock)  # of agents, as the other is of runs
        self.clock = clock
        self.limits = limits
        self.database = Database(directory / "sweeps.sqlite3")
        self.projects = Projects(self.database, clock)
        self.sweeps = Sweeps(self.database, clock, new_name)
        self.runs = Runs(self.database, clock, liveness, self.sweeps, new_name, limits.max_losses)
        self.observations = Observations(self.database)
        self.suggestions = Suggestions(self.sweeps, self.observations)
        self.agents = Agents(
            self.database,
            clock,
            liveness,
            attendance,
            self.projects,
            self.sweeps,
            self.runs,
            self.suggestions,
            new_name,
            limits.unstarted_grace_s,
            limits.crash_timeout_s,
        )
        incoming = directory / "incoming"
        remove_partial_files(incoming)
        self.files = Files(self.database, clock, directory / "files", incoming)
        self.blobs = Blobs(self.database, directory / "artifacts", incoming)
        self.artifacts = Artifacts(self.database, clock, self.blobs, limits.manifest_bytes)
        # One thread: SQLite has one writer anyway, and handing trials out needs no further locks.
        self._writer = Writer(self.database)

    def keep_house(self, every_s: float) -> None:
        """Conclude that silent runs have crashed, and forget what is of no use; to be done every so often."""
        self._liveness.attend(every_s)
        self._attendance.attend(every_s)
        self.agents.lose_silent_runs()
        self.suggestions.forget_ended()
        self.artifacts.delete_old_drafts()

    def is_awaited(self) -> bool:
        """Whether somebody may still come: a run is under way, or the agents of an open sweep wait in a queue."""
        return bool(self.runs.live()) or self.sweeps.is_any_open(self.limits.open_sweep_timeout_s)

    def take_post(self, run: Run, post: StreamPost) -> Run:
        """Store what a process streamed about its run. Raises: ClientError, as Files.announce does."""
        if not self.runs.has_heard(run, post):
            for name, content in post.run_files:
                (file,) = self.files.announce(run, [name])
                self.files.keep(file, content)
        return self.runs.post(run, post)

    def file_arrived(self, file: RunFile, size_bytes: int) -> bool:
        """Note that a file's content was stored. Returns False if its run was deleted meanwhile."""
        is_wanted = self.files.stored(file, size_bytes)
        if not is_wanted:
            self.runs.deleted.file_arrived(file.run_id)
        return is_wanted

    async def remove_deleted_files(self) -> None:
        """Remove what is left of deleted runs and artifacts, which a server that ended too early may have left too.

        Raises:
            OSError: Something can't be removed for now.
        """
        for run in await self.run(self.runs.deleted.with_files):
            project = await self.run(partial(self.projects.by_id, run.project_id))
            await asyncio.to_thread(remove_run, self.files.directory, project, run.name)
            await self.run(partial(self.runs.deleted.files_removed, run))
        for blob in await self.run(self.blobs.garbage):
            await asyncio.to_thread(self.blobs.path(blob).unlink, missing_ok=True)
            await self.run(partial(self.blobs.forget, blob))

    async def run(self, work: Callable[[], T]) -> T:
        """Do work in a transaction; when this returns, what it did is on disk. See Writer.run."""
        return await self._writer.run(work)

    def close(self) -> None:
        """Finish what is under way and close the database."""
        self._writer.close()
        self.database.close()
