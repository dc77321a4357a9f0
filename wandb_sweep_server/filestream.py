"""What a process streams about its run: from the request body to values. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from . import jsontext
from .errors import ClientError

_STREAMS = {"wandb-history.jsonl": "history", "wandb-events.jsonl": "events", "output.log": "log"}
STREAMS = tuple(_STREAMS.values())
_SUMMARY = "wandb-summary.json"
# An extension of ours: texts of small files of the run, by name. W&B's clients put each file at an address of its
# own, which takes more requests and syncs of the disk than all the rest of a short run.
_RUN_FILES = "run_files"
_MAX_RUN_FILE_BYTES = 2**16
# SQLite's largest integer; also far above any real line number.
_MAX_OFFSET = 2**62


@dataclass(frozen=True)
class Chunk:
    """Lines of one stream (history, events or log); the first has the number `offset`.

    Lines are stored by their number: the SDK sends a chunk again if it missed the answer.
    """

    stream: str
    offset: int
    lines: tuple[str, ...]


@dataclass(frozen=True)
class StreamPost:
    """One request. `exit_code` is None while the process runs.

    `digest` tells the last words of processes apart. It is "" where they need not differ: without the summary, in
    which the SDK states how long the process ran. `run_files`: names and contents of files.
    """

    chunks: tuple[Chunk, ...] = ()
    summary: dict[str, Any] | None = None
    preempting: bool = False
    exit_code: int | None = None
    digest: str = field(default="", compare=False)
    run_files: tuple[tuple[str, bytes], ...] = ()


def parse_post(body: bytes) -> StreamPost:
    """Read a request body.

    Raises:
        ClientError: It is no JSON object or has parts of the wrong type.
    """
    try:
        message = jsontext.loads(body or b"{}")
    except ValueError as error:
        raise ClientError(f"file_stream: the body is not valid JSON: {error}") from error
    if not isinstance(message, dict):
        raise ClientError(f"file_stream: the body must be a JSON object, not {type(message).__name__}")
    files = message.get("files") or {}
    if not isinstance(files, dict):
        raise ClientError("file_stream: files must be a JSON object")
    chunks = tuple(_chunk(name, files[name]) for name in _STREAMS if name in files)
    return StreamPost(
        chunks=chunks,
        summary=_summary(files[_SUMMARY]) if _SUMMARY in files else None,
        preempting=message.get("preempting") is True,
        exit_code=_exit_code(message),
        digest=hashlib.sha256(body).hexdigest() if _SUMMARY in files else "",
        run_files=_run_files(message.get(_RUN_FILES) or {}),
    )


def _run_files(texts: Any) -> tuple[tuple[str, bytes], ...]:
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        raise ClientError(f"file_stream: {_RUN_FILES} must be a JSON object of texts")
    contents = tuple((name, text.encode(errors="replace")) for name, text in texts.items())
    for name, content in contents:
        if len(content) > _MAX_RUN_FILE_BYTES:
            raise ClientError(
                f"file_stream: {_RUN_FILES}: {name!r} has {len(content)} bytes; more than {_MAX_RUN_FILE_BYTES} are "
                "uploaded (createRunFiles)"
            )
    return contents


def _exit_code(message: dict[str, Any]) -> int | None:
    # The old uploader sends `complete: false` with every post.
    if message.get("complete") is not True:
        return None
    code = message.get("exitcode")
    return code if isinstance(code, int) and abs(code) < _MAX_OFFSET else 0


def _chunk(name: str, content: Any) -> Chunk:
    offset = content.get("offset", 0) if isinstance(content, dict) else None
    lines = content.get("content") if isinstance(content, dict) else None
    if isinstance(offset, bool) or not isinstance(offset, int) or not 0 <= offset < _MAX_OFFSET:
        raise ClientError(f"file_stream: {name}: offset {offset!r} must be an integer of at least 0")
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise ClientError(f"file_stream: {name}: content must be a list of strings")
    return Chunk(_STREAMS[name], offset, tuple(lines))


def _summary(content: Any) -> dict[str, Any] | None:
    lines = content.get("content") if isinstance(content, dict) else None
    if not isinstance(lines, list) or not lines:
        return None
    try:
        summary = jsontext.loads(lines[-1])
    except (TypeError, ValueError) as error:
        raise ClientError(f"file_stream: {_SUMMARY} is not valid JSON: {error}") from error
    return summary if isinstance(summary, dict) else None
