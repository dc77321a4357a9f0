"""Projects: where they come from and what they may be called."""

from __future__ import annotations

import re

from .clock import Clock
from .database import Database
from .errors import ClientError
from .records import Project, record

DEFAULT_ENTITY = "local"
DEFAULT_PROJECT = "uncategorized"

# W&B's own rule; it also keeps names usable as parts of a path and a URL.
_NAME = re.compile(r"[^/\\#?%:\x00-\x1f\x7f]{1,128}\Z")


def check_name(kind: str, name: str) -> str:
    """Return the name.

    Raises:
        ClientError: It cannot be part of a path and a URL.
    """
    if not _NAME.match(name) or name in (".", ".."):
        raise ClientError(rf"{kind} {name!r}: a name has 1 to 128 characters and none of / \ # ? % :")
    return name


class Projects:
    """Projects by name. They come into being when first used."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._db = database
        self._clock = clock

    def by_id(self, project_id: int) -> Project:
        """The project of a row that refers to it."""
        found = record(Project, self._db.row("SELECT * FROM projects WHERE id = ?", (project_id,)))
        if found is None:
            raise LookupError(f"project row {project_id} is missing")
        return found

    def find(self, entity: str | None, name: str | None) -> Project | None:
        """The project, or None. Missing names stand for the defaults."""
        key = (entity or DEFAULT_ENTITY, name or DEFAULT_PROJECT)
        return record(Project, self._db.row("SELECT * FROM projects WHERE entity = ? AND name = ?", key))

    def require(self, entity: str | None, name: str | None) -> Project:
        """The project, which is made if it doesn't exist."""
        found = self.find(entity, name)
        if found is not None:
            return found
        project_id = self._db.insert(
            "projects",
            {
                "entity": check_name("entity", entity or DEFAULT_ENTITY),
                "name": check_name("project", name or DEFAULT_PROJECT),
                "created_at": self._clock.wall_s(),
            },
        )
        return self.by_id(project_id)

    def page(self, entity: str | None, offset: int, count: int) -> list[Project]:
        """Projects of an entity, oldest first."""
        rows = self._db.rows(
            "SELECT * FROM projects WHERE entity = ? ORDER BY id LIMIT ? OFFSET ?",
            (entity or DEFAULT_ENTITY, count, offset),
        )
        return [Project(**dict(row)) for row in rows]
