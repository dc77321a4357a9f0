"""Runs that a sweep directory tells of and somebody has deleted at the server."""

from __future__ import annotations

from ._client import SweepClient, SweepRef
from ._errors import SweepError
from ._ledger import SweepRecord

# Somebody waits for an answer that needs no server.
_TIMEOUT_S = 3.0


def deleted_note(client: SweepClient, sweep: SweepRef, best_run: str | None) -> str | None:
    """Return a sentence if the run of the best trial was deleted; None if it wasn't, or the server can't be asked."""
    try:
        if best_run is None or client.get_run(sweep, best_run) is not None:
            return None
    except SweepError:
        return None
    return f"The best trial's run {best_run} isn't at the server any more; the sweep directory still has its results."


def notes_on(record: SweepRecord, best_run: str | None) -> tuple[str, ...]:
    """Return what is to be said of a sweep beside its directory's own word. best_run: its id."""
    client = SweepClient(record.server.open, patience_s=0.0, timeout_s=_TIMEOUT_S)
    note = deleted_note(client, record.sweep, best_run)
    return (note,) if note is not None else ()
