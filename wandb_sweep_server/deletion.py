"""Runs that were deleted: what has to be remembered of them."""

from __future__ import annotations

from dataclasses import dataclass

from .database import Database
from .records import Run


@dataclass(frozen=True)
class DeletedRun:
    """What is left of a run; `files_left` changes with every file that comes."""

    project_id: int
    name: str
    files_left: int


class DeletedRuns:
    """Names of deleted runs, which are never used again, and which of them still have files."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def add(self, run: Run) -> None:
        """Remember a run whose rows are about to go; its files are left until `files_removed`."""
        columns = {"project_id": run.project_id, "name": run.name, "sweep_id": run.sweep_id, "run_id": run.id}
        self._db.insert("deleted_runs", columns)

    def contains(self, project_id: int, name: str) -> bool:
        """Whether there was such a run."""
        sql = "SELECT 1 FROM deleted_runs WHERE project_id = ? AND name = ?"
        return self._db.value(sql, (project_id, name)) is not None

    def file_arrived(self, run_id: int) -> None:
        """A file of the run came, whose upload had begun before the run was deleted."""
        self._db.execute("UPDATE deleted_runs SET files_left = files_left + 1 WHERE run_id = ?", (run_id,))

    def count_of_sweep(self, sweep_id: int) -> int:
        """How many runs of a sweep were deleted."""
        return int(self._db.value("SELECT COUNT(*) FROM deleted_runs WHERE sweep_id = ?", (sweep_id,)))

    def with_files(self) -> list[DeletedRun]:
        """Those whose files are still to be removed."""
        rows = self._db.rows("SELECT project_id, name, files_left FROM deleted_runs WHERE files_left > 0")
        return [DeletedRun(**dict(row)) for row in rows]

    def files_removed(self, run: DeletedRun) -> None:
        """Nothing is left of the run but its name, unless a file came since `run` was looked up."""
        self._db.execute(
            "UPDATE deleted_runs SET files_left = 0 WHERE project_id = ? AND name = ? AND files_left = ?",
            (run.project_id, run.name, run.files_left),
        )
