"""The list of files that an artifact holds, as W&B's SDK writes it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from . import jsontext
from .blobs import md5_of_base64
from .errors import ClientError


@dataclass(frozen=True)
class Entry:
    """A file of an artifact: a content by its MD5 sum (hexadecimal), or a reference to something elsewhere."""

    name: str
    md5: str | None
    reference: str | None
    size_bytes: int


def parse_manifest(content: bytes) -> list[Entry]:
    """Read a manifest of version 1.

    Raises:
        ClientError: It is no manifest, or has parts of the wrong type.
    """
    try:
        manifest = jsontext.loads(content)
    except ValueError as error:
        raise ClientError(f"artifact manifest: it is not valid JSON: {error}") from error
    contents = manifest.get("contents") if isinstance(manifest, dict) else None
    if not isinstance(contents, dict) or manifest.get("version") != 1:
        raise ClientError("artifact manifest: it must be a JSON object with version 1 and contents")
    return [_entry(name, entry) for name, entry in contents.items()]


def _entry(name: str, entry: object) -> Entry:
    digest = entry.get("digest") if isinstance(entry, dict) else None
    if not isinstance(entry, dict) or not isinstance(digest, str):
        raise ClientError(f"artifact manifest: {name!r} must be a JSON object with a digest")
    size = entry.get("size") or 0
    if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size < 2**63:
        raise ClientError(f"artifact manifest: {name!r}: size {size!r} must be a number of bytes")
    reference = entry.get("ref")
    if not isinstance(reference, str | None):
        raise ClientError(f"artifact manifest: {name!r}: ref {reference!r} must be a URI")
    return Entry(name, None if reference else md5_of_base64(name, digest), reference or None, size)
