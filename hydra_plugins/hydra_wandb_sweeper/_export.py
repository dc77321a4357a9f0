"""`hydra-sweep export`: the rows of trials.csv, of any sweep, in the format that another program reads best."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TextIO

from wandb_sweep_server.importance import is_finite, is_number

from ._client import RunInfo, SweepInfo
from ._disk import output_file
from ._errors import SweepError
from ._events import EventReader
from ._history import History
from ._ledger import Ledger
from ._page_data import Work
from ._report_data import cached_parse, of_run, value_reader
from ._results import UNENCODABLE, collect, columns_of, with_values, write_csv
from ._sweep_config import read_template
from ._sweep_data import finite
from ._values import render

_SUFFIXES = {".csv": "csv", ".json": "json", ".parquet": "parquet", ".pq": "parquet"}
_STARTED = "started"
# Columns that hold no value of a trial.
_INTEGERS = frozenset({"number", "attempts"})
_TEXTS = frozenset({"run_id", "state", "agent", "host", "directory", "error"})
_MAX_INT = 2**63 - 1


def rows_of_directory(directory: Path, *, typed: bool) -> list[dict[str, Any]]:
    """Return the rows of a sweep directory's trials. typed: values as they were meant, None where there is none;
    else as trials.csv has them.

    Errors: SweepError if there is no sweep.
    """
    ledger, history = Ledger.open(directory, ""), History()
    history.add(EventReader(directory).new_events())
    rows = collect(ledger.sweep(), history, directory, cached_parse if typed else str).trials
    return [_typed(row) if typed else dict(row) for row in rows]


def rows_of_sweep(
    info: SweepInfo, runs: Iterable[RunInfo], work: Work | None = None, *, typed: bool
) -> list[dict[str, Any]]:
    """Return the same for a sweep of which only the server is known: no directories, no attempts.

    number: the run's place in the order of their creation. work: who worked when; None if the server doesn't tell.
    """
    values = value_reader(read_template(info.config), info.config, cached_parse if typed else str)
    rows = [_row_of_run(number, run, values(run.config), work) for number, run in enumerate(runs)]
    return [_typed(row) for row in rows] if typed else rows


def _row_of_run(number: int, run: RunInfo, parameters: Mapping[str, Any], work: Work | None) -> dict[str, Any]:
    entry = of_run(run, parameters, work)
    started = entry.began_at
    row = {
        "number": number,
        "run_id": entry.run_id,
        "state": entry.state,
        "started": datetime.fromtimestamp(started, tz=timezone.utc).isoformat(timespec="seconds") if started else "",
        "duration_s": entry.duration_s,
        "attempts": None,
        "agent": entry.agent or "",
        "host": entry.host or "",
        "directory": "",
        "error": entry.reason or "",
    }
    return with_values(row, parameters, entry.metrics)


def _typed(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: None if value == "" and (name in _TEXTS or name == _STARTED) else value for name, value in row.items()
    }


def format_of(output: Path | None) -> str:
    """Return the format that a file's name asks for: csv, json or parquet. Errors: SweepError if it asks for none."""
    if output is None:
        return "csv"
    if (format := _SUFFIXES.get(output.suffix.lower())) is None:
        raise SweepError(
            f"--output {output}: the name ends with none of {', '.join(_SUFFIXES)}. Say the format: --format csv, "
            "json or parquet"
        )
    return format


def export(rows: Sequence[Mapping[str, Any]], format: str, output: Path | None) -> None:
    """Write rows as csv, json or parquet into a file, or to standard output. Parquet needs a file, and pyarrow.

    Errors: SweepError.
    """
    if format == "parquet":
        if output is None:
            raise SweepError("Parquet is no text: name a file with --output, e.g. --output trials.parquet")
        with output_file(output) as temporary:
            write_parquet(rows, temporary)
        return
    write = write_csv if format == "csv" else write_json
    if output is None:
        # In a file's encoding, whatever that of the terminal is: it is for programs.
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8", errors=UNENCODABLE)
        write(rows, sys.stdout)
        return
    with (
        output_file(output) as temporary,
        open(temporary, "w", newline="", encoding="utf-8", errors=UNENCODABLE) as file,
    ):
        write(rows, file)


def write_json(rows: Sequence[Mapping[str, Any]], file: TextIO) -> None:
    """Write a list of objects with the same names each, one on a line; null for what is absent or isn't finite."""
    names = columns_of(rows)
    file.write("[")
    for number, row in enumerate(rows):
        file.write(",\n " if number else "\n ")
        file.write(json.dumps({name: finite(row.get(name)) for name in names}, allow_nan=False))
    file.write("\n]\n")


def write_parquet(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write a Parquet file: numbers, booleans and times as such, other values as text. Errors: SweepError."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise SweepError(
            f"Parquet needs pyarrow ({error}): pip install 'hydra-wandb-sweeper[parquet]', or export as csv or json."
        ) from error
    columns = {}
    for name in columns_of(rows):
        kind, values = parquet_column(name, [row.get(name) for row in rows])
        type_ = pyarrow.timestamp("ms", tz="UTC") if kind == "time" else pyarrow.type_for_alias(kind)
        columns[name] = pyarrow.array(values, type_)
    pyarrow.parquet.write_table(pyarrow.table(columns), path)


def parquet_column(name: str, values: Sequence[Any]) -> tuple[str, list[Any]]:
    """Return the type of a column (time, or Arrow's name of it) and its values in that type."""
    if name == _STARTED:
        return "time", [datetime.fromisoformat(text) if text else None for text in values]
    present = [value for value in values if value is not None]
    if name not in _TEXTS:
        if name in _INTEGERS or (present and all(map(_is_int, present)) and not name.startswith("metric.")):
            return "int64", list(values)
        if not present or all(map(is_number, present)):
            return "float64", [None if value is None else _float(value) for value in values]
        if all(isinstance(value, bool) for value in present):
            return "bool", list(values)
    return "string", [None if value is None else _text(value) for value in values]


def _is_int(value: Any) -> bool:
    return is_number(value) and isinstance(value, int) and abs(value) <= _MAX_INT


def _float(value: float) -> float:
    # An integer beyond the largest float is infinite to it.
    return float(value) if isinstance(value, float) or is_finite(value) else float("inf" if value > 0 else "-inf")


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else render(value)
    return text.encode(errors="replace").decode()  # half a surrogate pair is no text to Arrow
