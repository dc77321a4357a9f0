"""The files of artifacts: announced one after the other, and settled by the manifest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from . import jsontext
from .blobs import Blob, Blobs, md5_of_base64
from .database import Database
from .errors import ClientError
from .manifests import Entry

_INSERT = (
    "INSERT OR REPLACE INTO artifact_files (artifact_id, name, blob_id, reference, size_bytes) VALUES (?, ?, ?, ?, ?)"
)
_SET_SIZE = "UPDATE artifact_files SET size_bytes = ? WHERE artifact_id = ? AND name = ?"
_DELETE = "DELETE FROM artifact_files WHERE artifact_id = ? AND name = ?"
_REPLACED = (
    "SELECT blob_id FROM json_each(?) AS wanted "
    "CROSS JOIN artifact_files ON artifact_id = ? AND name = wanted.value WHERE blob_id IS NOT NULL"
)


@dataclass(frozen=True)
class ArtifactFile:
    """A file of an artifact: a content of ours, or a reference to something elsewhere (a URI)."""

    artifact_id: int
    name: str
    blob_id: int | None
    reference: str | None
    size_bytes: int


class ArtifactFiles:
    """The rows of artifacts' files. An artifact may have 100,000: no statement is run for each of them alone."""

    def __init__(self, database: Database, blobs: Blobs) -> None:
        self._db = database
        self._blobs = blobs

    def of_artifact(self, artifact_id: int) -> list[ArtifactFile]:
        """All, by name."""
        sql = "SELECT * FROM artifact_files WHERE artifact_id = ? ORDER BY name"
        return [ArtifactFile(**dict(row)) for row in self._db.rows(sql, (artifact_id,))]

    def blob_ids(self, artifact_id: int) -> list[int]:
        """Their contents."""
        sql = "SELECT blob_id FROM artifact_files WHERE artifact_id = ? AND blob_id IS NOT NULL"
        return [row["blob_id"] for row in self._db.rows(sql, (artifact_id,))]

    def announce(self, artifact_id: int, wanted: Sequence[tuple[str, str]]) -> list[Blob]:
        """Places for files (name, MD5 sum in base64), in their order; some may be there already.

        Raises:
            ClientError: An MD5 sum is none.
        """
        sums = [md5_of_base64(name, text) for name, text in wanted]
        blob_of = self._blobs.announce(sums)
        names = jsontext.dumps([name for name, _ in wanted])
        replaced = {row["blob_id"] for row in self._db.rows(_REPLACED, (names, artifact_id))}
        blobs = [blob_of[md5] for md5 in sums]
        blob_id_of = {name: blob.id for (name, _), blob in zip(wanted, blobs, strict=True)}
        self._db.executemany(_INSERT, [(artifact_id, *item, None, 0) for item in blob_id_of.items()])
        # A client that was killed and found other contents when it began again.
        self._blobs.discard_unused((replaced | {blob.id for blob in blobs}) - set(blob_id_of.values()))
        return blobs

    def settle(self, artifact_id: int, entries: Sequence[Entry]) -> None:
        """Have an artifact consist of what its manifest says.

        Raises:
            ClientError: A content is missing.
        """
        id_of = self._blobs.stored_ids({entry.md5 for entry in entries if entry.md5 is not None})
        for entry in entries:
            if entry.md5 is not None and entry.md5 not in id_of:
                raise ClientError(f"this artifact can't be finished: its file {entry.name!r} was not uploaded")
        sql = "SELECT name, blob_id, reference FROM artifact_files WHERE artifact_id = ?"
        announced = {row[0]: (row[1], row[2]) for row in self._db.rows(sql, (artifact_id,))}
        settled = {
            entry.name: (None if entry.md5 is None else id_of[entry.md5], entry.reference, entry.size_bytes)
            for entry in entries
        }
        # Most files are as announced but for their size, to set which costs half of what a new row does.
        as_announced = [name for name, row in settled.items() if announced.get(name) == row[:2]]
        self._db.executemany(_SET_SIZE, [(settled[name][2], artifact_id, name) for name in as_announced])
        others = settled.keys() - set(as_announced)
        self._db.executemany(_INSERT, [(artifact_id, name, *settled[name]) for name in others])
        gone = announced.keys() - settled.keys()
        self._db.executemany(_DELETE, [(artifact_id, name) for name in gone])
        self._blobs.discard_unused(
            {blob_id for blob_id, _ in announced.values() if blob_id is not None} - set(id_of.values())
        )
