"""What there is to sync and in which pieces: values and decisions, no I/O."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from enum import Enum

from ._client import SweepRef

# The streams of a run, as the embedded server names them, and the files that they are on W&B's wire.
STREAMS: Mapping[str, str] = {
    "history": "wandb-history.jsonl",
    "events": "wandb-events.jsonl",
    "log": "output.log",
}
# What one request carries of a stream.
CHUNK_LINES = 1000
CHUNK_BYTES = 1 << 20

_OPEN_SWEEPS = frozenset({"PENDING", "RUNNING", "PAUSED"})
_INTERRUPTED = 255  # what W&B's SDK reports for a run that was stopped


@dataclass(frozen=True)
class SourceSweep:
    """A sweep on the embedded server. config: YAML as it was sent; created_at: ISO 8601, UTC."""

    ref: SweepRef
    state: str
    config: str
    description: str | None
    created_at: str

    @property
    def has_ended(self) -> bool:
        """True if no trial of it begins any more."""
        return self.state not in _OPEN_SWEEPS

    @property
    def mark(self) -> str:
        """The sentence in the target's description by which a sweep is found that was made for this one."""
        return f"Synced by hydra-sweep from sweep {self.ref.path} of {self.created_at}."

    @property
    def marked_description(self) -> str:
        """The description of the target's sweep."""
        return "\n\n".join(filter(None, (self.description, self.mark)))


@dataclass(frozen=True)
class SourceRun:
    """A run on the embedded server. config, summary: JSON text; lines: stream -> count; times: ISO 8601, UTC."""

    run_id: str
    state: str
    exit_code: int | None
    display_name: str | None
    description: str | None
    notes: str | None
    tags: tuple[str, ...]
    group: str | None
    job_type: str | None
    host: str | None
    program: str | None
    repo: str | None
    commit: str | None
    config: str
    summary: str
    lines: Mapping[str, int]
    file_count: int
    heartbeat_at: str

    def fingerprint(self) -> str:
        """Return a short text that differs once anything of the run has changed."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:24]


class Manner(Enum):
    """How a run's end is told to a server: what makes it show the same state."""

    EXIT = "its exit code"
    STOP = "a request to stop, then its exit code"
    PREEMPT = "that it is being preempted, then its exit code"
    SILENCE = "nothing: a run that is silent for 5 minutes has crashed"


@dataclass(frozen=True)
class Ending:
    """The end of a run. exit_code: of its process."""

    manner: Manner
    exit_code: int


_MANNERS: Mapping[str, tuple[Manner, int]] = {
    "finished": (Manner.EXIT, 0),
    "failed": (Manner.EXIT, 1),
    "killed": (Manner.STOP, _INTERRUPTED),
    "preempted": (Manner.PREEMPT, _INTERRUPTED),
    "crashed": (Manner.SILENCE, _INTERRUPTED),
}


def ending_of(run: SourceRun) -> Ending | None:
    """Return how to tell a run's end, None for one that hasn't ended."""
    if run.state not in _MANNERS:
        return None
    manner, usual = _MANNERS[run.state]
    # Only a finished run has exit code 0; a stopped one may have reported 0 too, which would make it finished.
    return Ending(manner, (run.exit_code or usual) if usual else 0)


@dataclass(frozen=True)
class Chunk:
    """Consecutive lines of a stream; `offset` is the number of the first."""

    stream: str
    offset: int
    lines: tuple[str, ...]

    @property
    def end(self) -> int:
        """The number after that of the last line."""
        return self.offset + len(self.lines)

    @property
    def size_bytes(self) -> int:
        """How large its lines are."""
        return sum(len(line.encode()) for line in self.lines)


def chunks_of(stream: str, numbered: Iterable[tuple[int, str]]) -> Iterator[Chunk]:
    """Cut numbered lines, in order, into chunks of CHUNK_LINES and CHUNK_BYTES at most.

    A line that is longer is a chunk by itself; a gap in the numbers ends a chunk.
    """
    first, lines, size = 0, list[str](), 0
    for number, text in numbered:
        length = len(text.encode())
        is_full = len(lines) == CHUNK_LINES or size + length > CHUNK_BYTES
        if lines and (is_full or number != first + len(lines)):
            yield Chunk(stream, first, tuple(lines))
            lines, size = [], 0
        if not lines:
            first = number
        lines.append(text)
        size += length
    if lines:
        yield Chunk(stream, first, tuple(lines))


Parcel = tuple[Chunk, ...]


def parcels_of(chunks: Iterable[Chunk]) -> Iterator[Parcel]:
    """Put chunks together that one request can carry: of different streams, CHUNK_LINES and CHUNK_BYTES at most."""
    parcel: list[Chunk] = []
    for chunk in chunks:
        together = [*parcel, chunk]
        is_too_much = (
            any(other.stream == chunk.stream for other in parcel)
            or sum(len(c.lines) for c in together) > CHUNK_LINES
            or sum(c.size_bytes for c in together) > CHUNK_BYTES
        )
        if parcel and is_too_much:
            yield tuple(parcel)
            parcel = []
        parcel.append(chunk)
    if parcel:
        yield tuple(parcel)


@dataclass(frozen=True)
class Counts:
    """What became of a sweep's runs. open: they haven't ended at the source; failed: run id -> reason."""

    uploaded: int = 0
    already_there: int = 0
    open: int = 0
    failed: tuple[tuple[str, str], ...] = ()

    def plus(self, **more: int) -> Counts:
        """Return the counts with some added."""
        return replace(self, **{name: getattr(self, name) + count for name, count in more.items()})

    def plus_failed(self, run_id: str, reason: str) -> Counts:
        """Return the counts with one more failed run."""
        return replace(self, failed=(*self.failed, (run_id, reason)))

    @property
    def done(self) -> int:
        """How many runs are dealt with."""
        return self.uploaded + self.already_there + self.open + len(self.failed)
