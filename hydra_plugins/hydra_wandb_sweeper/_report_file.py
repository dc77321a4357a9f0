"""Making report.html, of a sweep directory or of a sweep on a server."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ._client import SweepClient, SweepInfo, SweepRef
from ._curves import REQUEST_TIMEOUT_S, CurveClient, Curves, best_run, read_curves
from ._errors import SweepError
from ._gone import deleted_note
from ._ledger import Ledger
from ._page_data import read_work
from ._report_data import ledger_data, server_data
from ._report_html import plotly_script, render
from ._transport import ServerAccess

log = logging.getLogger(__name__)

REPORT_FILE = "report.html"
# How long curves may take to be read: at the end of a sweep somebody waits for the prompt.
AT_END_S = 10.0
ON_COMMAND_S = 60.0
# It is a report, not the sweep: a server that says "later" is asked again, but not for long.
_PATIENCE_S = 5.0


@dataclass(frozen=True)
class Report:
    """A report that was made. notes: sentences that say what it lacks."""

    path: Path
    notes: tuple[str, ...]


def report_at_end(ledger: Ledger) -> None:
    """Make the report of a sweep that has ended; nothing that goes wrong with it is the sweep's failure."""
    try:
        made = report_of_directory(ledger.directory, ledger.directory / REPORT_FILE, time_s=AT_END_S)
    except Exception as error:  # noqa: BLE001 (whatever it is, all results are written)
        log.warning("report.html can't be made (%r). To try again: hydra-sweep report %s", error, ledger.directory)
    except KeyboardInterrupt:
        log.warning("Interrupted: no report.html. To make it: hydra-sweep report %s", ledger.directory)
    else:
        log.info("Report: %s", made.path)
        for note in made.notes:
            log.info("%s", note)


def report_of_directory(directory: Path, output: Path, *, time_s: float = ON_COMMAND_S) -> Report:
    """Make the report of the sweep in a directory. time_s: about how long curves may take.

    Errors: SweepError if there is no sweep, OSError if the file can't be written.
    """
    ledger = Ledger.open(directory, "")
    record = ledger.sweep()
    # Who gets the report alone has no use for links to the trials' files.
    beside = ledger.directory if output.absolute().parent == ledger.directory else None
    try:
        # Asked once: the ledger knows nearly all of it.
        client = SweepClient(record.server.open, patience_s=0.0, timeout_s=REQUEST_TIMEOUT_S)
        info = client.get_sweep(record.sweep)
    except SweepError as error:
        lacking = Curves(notes=(f"The report lacks curves of metrics: {error}",))
        return _write(output, ledger_data(ledger, time.time(), beside=beside), lacking)
    data = ledger_data(ledger, time.time(), info, beside=beside)
    if info is None:
        gone = f"The report lacks curves of metrics: the sweep isn't on {record.server.place} any more."
        return _write(output, data, Curves(notes=(gone,)))
    curves = _curves(record.server.open, record.sweep, data, time_s)
    note = deleted_note(client, record.sweep, best_run(data))
    return _write(output, data, replace(curves, notes=(*curves.notes, note)) if note is not None else curves)


def report_of_sweep(
    client: SweepClient, info: SweepInfo, url: str, open_access: Callable[[], ServerAccess], output: Path
) -> Report:
    """Make the report of a sweep on a server. url: of its page. open_access: to that server.

    Errors: those of the client, and OSError if the file can't be written.
    """
    data = server_data(info, url, client.sweep_runs(info.ref), time.time(), read_work(open_access, info.ref))
    return _write(output, data, _curves(open_access, info.ref, data, ON_COMMAND_S))


def _curves(open_access: Callable[[], ServerAccess], ref: SweepRef, data: Mapping[str, Any], time_s: float) -> Curves:
    client = CurveClient(open_access, patience_s=_PATIENCE_S)
    try:
        return read_curves(client, ref, data, time_s=time_s)
    finally:
        client.close()


def _write(output: Path, data: Mapping[str, Any], curves: Curves) -> Report:
    temporary = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        temporary.write_text(render(data, curves.to_json(), curves.notes, plotly_script()), encoding="utf-8")
        os.replace(temporary, output)
    finally:
        temporary.unlink(missing_ok=True)
    return Report(output, curves.notes)
