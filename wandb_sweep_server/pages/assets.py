"""What pages are made of: the files in ../page, and Plotly, which its Python package brings along."""

from __future__ import annotations

import gzip
import hashlib
import threading
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path

from wandb_sweep_server.errors import NotFoundError

PLOTLY = "plotly.js"
_DIRECTORY = Path(__file__).parent.parent / "page"
_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


@dataclass(frozen=True)
class Asset:
    """A file as it is sent. compressed: by gzip."""

    content: bytes
    compressed: bytes
    media_type: str
    etag: str


class Assets:
    """Reads each file once, when it is asked for first; slow, to be called in a thread."""

    def __init__(self) -> None:
        self._known: dict[str, Asset] = {}
        self._lock = threading.Lock()

    @cached_property
    def version(self) -> str:
        """A text that differs where any of the files does."""
        files = sorted(path for path in _DIRECTORY.iterdir() if path.is_file())
        contents = [file.name.encode() + b"\0" + file.read_bytes() for file in files]
        return _hash(b"\0".join([metadata.version("plotly").encode(), *contents]))

    def find(self, name: str) -> Asset:
        """The file of that name.

        Raises:
            NotFoundError: There is none.
        """
        with self._lock:  # else two who ask at once would both compress it
            if name not in self._known:
                self._known[name] = _read(name)
            return self._known[name]

    def shell(self, name: str) -> str:
        """An HTML file, without what differs between visitors."""
        return (_DIRECTORY / name).read_text(encoding="utf-8").replace("{{asset_version}}", self.version)


def _read(name: str) -> Asset:
    suffix = name[name.rfind(".") :]
    if suffix not in _TYPES or "/" in name or "\\" in name:
        raise NotFoundError(f"there is no file {name!r}")
    content = _plotly() if name == PLOTLY else _read_page_file(name)
    compressed = gzip.compress(content, 6, mtime=0)
    return Asset(content, compressed, _TYPES[suffix], f'"{_hash(content)}"')


def _plotly() -> bytes:
    from plotly.offline import get_plotlyjs  # takes a while, and only pages need it

    return str(get_plotlyjs()).encode()


def _read_page_file(name: str) -> bytes:
    try:
        return (_DIRECTORY / name).read_bytes()
    except (OSError, ValueError) as error:
        raise NotFoundError(f"there is no file {name!r}") from error


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:20]
