"""Files of runs: announced over GraphQL, uploaded by a token, stored in the server's directory."""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path, PurePosixPath

from .clock import Clock
from .database import Database
from .durable import PartialFile, sync_directory
from .errors import ClientError, NotFoundError
from .records import Project, Run, RunFile, record

# What is small is a row among others: a file of its own takes four syncs of the disk, beside the commit.
SMALL_BYTES = 2**16
_MAX_FILES_AT_ONCE = 10_000
# File systems take 255.
_MAX_PART_BYTES = 240


class Files:
    """The files table and where contents are kept. directory: below which they go; incoming: while they come in."""

    def __init__(self, database: Database, clock: Clock, directory: Path, incoming: Path) -> None:
        self._db = database
        self._clock = clock
        self.directory = directory
        self._incoming = incoming

    def announce(self, run: Run, names: list[str]) -> list[RunFile]:
        """Make a place for each file and return it with its token.

        Raises:
            ClientError: A name leaves the run's directory, or there are too many.
        """
        if len(names) > _MAX_FILES_AT_ONCE:
            raise ClientError(f"at most {_MAX_FILES_AT_ONCE} files at once, not {len(names)}")
        return [self._one(run, _safe_name(name)) for name in names]

    def _one(self, run: Run, name: str) -> RunFile:
        known = self._db.row("SELECT * FROM files WHERE run_id = ? AND name = ?", (run.id, name))
        found = record(RunFile, known)
        if found is not None:
            return found
        columns = {"run_id": run.id, "name": name, "token": secrets.token_hex(24), "updated_at": self._clock.wall_s()}
        self._db.insert("files", columns)
        return self._one(run, name)

    def by_token(self, token: str) -> RunFile:
        """The file that a token stands for.

        Raises:
            NotFoundError: No file has it.
        """
        file = record(RunFile, self._db.row("SELECT * FROM files WHERE token = ?", (token,)))
        if file is None:
            raise NotFoundError("no file has this upload address")
        return file

    def place(self, token: str) -> tuple[RunFile, Path]:
        """The file that a token stands for and where its content goes. Raises: NotFoundError, as `by_token` does."""
        file = self.by_token(token)
        row = self._db.row(
            "SELECT projects.entity, projects.name, runs.name FROM runs "
            "JOIN projects ON projects.id = runs.project_id WHERE runs.id = ?",
            (file.run_id,),
        )
        if row is None:
            raise NotFoundError("the run of this file was deleted")
        return file, self.directory.joinpath(*tuple(row)) / file.name

    def partial(self) -> PartialFile:
        """A file for content that comes in, to be finished at its place. Raises: OSError."""
        return PartialFile(self._incoming)

    def keep(self, file: RunFile, content: bytes) -> None:
        """Store a small file at once, in place of what was there."""
        self.stored(file, len(content))
        self._db.insert("small_files", {"file_id": file.id, "content": content})

    def kept(self, run: Run, name: str) -> bytes | None:
        """The content of a file that was stored by `keep`, None of any other."""
        sql = "SELECT content FROM small_files JOIN files ON files.id = file_id WHERE run_id = ? AND name = ?"
        content: bytes | None = self._db.value(sql, (run.id, name))
        return content

    def stored(self, file: RunFile, size_bytes: int) -> bool:
        """Its content has arrived. Returns False if its run was deleted meanwhile."""
        self._db.execute("DELETE FROM small_files WHERE file_id = ?", (file.id,))
        changed = self._db.execute(
            "UPDATE files SET size_bytes = ?, updated_at = ? WHERE id = ?",
            (size_bytes, self._clock.wall_s(), file.id),
        )
        return bool(changed)

    def of_run(self, run: Run, names: list[str] | None, pattern: str | None = None) -> list[RunFile]:
        """Files whose content has arrived. pattern: of the name, as SQL's LIKE has it."""
        rows = self._db.rows(
            "SELECT * FROM files WHERE run_id = ? AND size_bytes IS NOT NULL AND name LIKE ? ORDER BY name",
            (run.id, pattern or "%"),
        )
        found = [RunFile(**dict(row)) for row in rows]
        return [file for file in found if not names or file.name in names]

    def path(self, project: Project, run: Run, name: str) -> Path:
        """Where a file's content is.

        Raises:
            ClientError: The name leaves the run's directory.
        """
        return self.directory / project.entity / project.name / run.name / _safe_name(name)


def remove_run(directory: Path, project: Project, run_name: str) -> None:
    """Remove all files of a deleted run; fine if there are none.

    Args:
        directory: Below which all contents are.
        project: The run's.
        run_name: The run's.

    Raises:
        OSError: Something is left.
    """
    parent = directory / project.entity / project.name
    if not (parent / run_name).exists():
        return
    shutil.rmtree(parent / run_name)
    sync_directory(parent)


def _safe_name(name: str) -> str:
    path = PurePosixPath(name)
    is_outside = path.is_absolute() or not path.parts or ".." in path.parts or "\x00" in name or "\\" in name
    is_long = len(name) > 1024 or any(len(part.encode(errors="replace")) > _MAX_PART_BYTES for part in path.parts)
    if is_outside or is_long:
        raise ClientError(
            f"file {name!r}: a name is a relative path without '..', of at most 1024 characters "
            f"and at most {_MAX_PART_BYTES} bytes between slashes"
        )
    return str(path)
