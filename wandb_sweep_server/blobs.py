"""Contents of artifacts: each is kept once, under a name made of its MD5 sum, which W&B's SDK goes by too."""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from . import jsontext
from .database import Database
from .durable import PartialFile
from .errors import ClientError, NotFoundError
from .records import record

_WANTED = "FROM json_each(?) CROSS JOIN blobs ON md5 = value AND NOT is_garbage"


@dataclass(frozen=True)
class Blob:
    """A content; `size_bytes` is None until it was uploaded."""

    id: int
    md5: str
    token: str
    size_bytes: int | None
    is_garbage: int


class Blobs:
    """The blobs table and where contents are. directory: below which they go; incoming: while they come in."""

    def __init__(self, database: Database, directory: Path, incoming: Path) -> None:
        self._db = database
        self._directory = directory
        self._incoming = incoming

    def path(self, blob: Blob) -> Path:
        """Where the content is. The row's number is part of the name: a name is not used again after a removal."""
        return self._directory / blob.md5[:2] / f"{blob.md5}-{blob.id}"

    def by_id(self, blob_id: int) -> Blob:
        """The blob of a row that refers to it."""
        found = record(Blob, self._db.row("SELECT * FROM blobs WHERE id = ?", (blob_id,)))
        if found is None:
            raise LookupError(f"blob row {blob_id} is missing")
        return found

    def find(self, md5: str) -> Blob | None:
        """The content with that MD5 sum (hexadecimal), or None; it may still have to be uploaded."""
        row = self._db.row("SELECT * FROM blobs WHERE md5 = ? AND NOT is_garbage", (md5,))
        return record(Blob, row)

    def stored_ids(self, sums: Collection[str]) -> dict[str, int]:
        """The row numbers of those contents that were uploaded, by MD5 sum (hexadecimal)."""
        sql = f"SELECT md5, blobs.id {_WANTED} AND size_bytes IS NOT NULL"
        return {row[0]: row[1] for row in self._db.rows(sql, (jsontext.dumps(list(sums)),))}

    def find_all(self, sums: Collection[str]) -> dict[str, Blob]:
        """The contents with those MD5 sums, by sum; see `find`."""
        sql = f"SELECT blobs.* {_WANTED}"
        return {row["md5"]: Blob(**dict(row)) for row in self._db.rows(sql, (jsontext.dumps(list(sums)),))}

    def announce(self, sums: Collection[str]) -> dict[str, Blob]:
        """Places for the contents with those MD5 sums (hexadecimal), by sum; where one has a place, that one."""
        known = self.find_all(sums)
        new = [md5 for md5 in dict.fromkeys(sums) if md5 not in known]
        sql = "INSERT INTO blobs (md5, token) VALUES (?, ?)"
        self._db.executemany(sql, [(md5, secrets.token_hex(24)) for md5 in new])
        return known | self.find_all(new)

    def place(self, token: str) -> Blob:
        """The blob that an upload address stands for.

        Raises:
            NotFoundError: None does.
        """
        row = self._db.row("SELECT * FROM blobs WHERE token = ? AND NOT is_garbage", (token,))
        found = record(Blob, row)
        if found is None:
            raise NotFoundError("no content of an artifact has this address")
        return found

    def writer(self, blob: Blob) -> BlobWriter:
        """For a content that comes in. Raises: OSError."""
        return BlobWriter(PartialFile(self._incoming), self.path(blob), blob.md5)

    def stored(self, blob: Blob, size_bytes: int) -> bool:
        """The content has arrived. Returns False if nobody wants it any more."""
        sql = "UPDATE blobs SET size_bytes = ? WHERE id = ? AND NOT is_garbage"
        return self._db.execute(sql, (size_bytes, blob.id)) > 0

    def discard_unused(self, blob_ids: Iterable[int]) -> None:
        """Give up those contents to which nothing refers any more; their files are removed later."""
        self._db.executemany(
            "UPDATE blobs SET is_garbage = 1 WHERE id = ? "
            "AND NOT EXISTS (SELECT 1 FROM artifact_files WHERE blob_id = blobs.id) "
            "AND NOT EXISTS (SELECT 1 FROM artifacts WHERE manifest_blob_id = blobs.id)",
            [(blob_id,) for blob_id in blob_ids],
        )

    def garbage(self) -> list[Blob]:
        """Those whose files are to be removed."""
        return [Blob(**dict(row)) for row in self._db.rows("SELECT * FROM blobs WHERE is_garbage")]

    def forget(self, blob: Blob) -> None:
        """Its file was removed."""
        self._db.execute("DELETE FROM blobs WHERE id = ?", (blob.id,))


class BlobWriter:
    """Writes a content piece by piece; a reader sees nothing of it until it is whole and known to be right."""

    def __init__(self, part: PartialFile, path: Path, md5: str) -> None:
        self._part = part
        self._path = path
        self._wanted = md5
        self._sum = hashlib.md5(usedforsecurity=False)

    @property
    def size_bytes(self) -> int:
        """Of what was written so far."""
        return self._part.size_bytes

    def write(self, piece: bytes) -> None:
        """Append."""
        self._part.write(piece)
        self._sum.update(piece)

    def finish(self) -> None:
        """Put the content in its place; when this returns it is on disk.

        Raises:
            ClientError: It is not what was announced.
        """
        if self._sum.hexdigest() != self._wanted:
            raise ClientError(f"the content has the MD5 sum {self._sum.hexdigest()}, not {self._wanted} as announced")
        self._part.finish(self._path)

    def abandon(self) -> None:
        """Leave nothing behind; harmless after `finish`."""
        self._part.discard()


def md5_of_base64(name: str, text: str) -> str:
    """An MD5 sum as W&B's SDK writes it (base64), in hexadecimal digits. name: of the file, for the error.

    Raises:
        ClientError: It is none.
    """
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        value = b""
    if len(value) != 16:
        raise ClientError(f"artifact file {name!r}: md5 {text!r} must be the base64 form of an MD5 sum")
    return value.hex()
