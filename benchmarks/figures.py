"""The figures that benchmarks have left, to look things up in."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from results import Row, Table, median_of


@dataclass(frozen=True)
class Measured:
    """One benchmark's file; see `results.report`."""

    name: str
    about: str
    machine: Mapping[str, Any]
    repeat: int
    tables: Sequence[Table]


@dataclass(frozen=True)
class Figures:
    """Those of all benchmarks, by name."""

    by_name: Mapping[str, Measured]

    @classmethod
    def load(cls, directory: Path) -> Figures:
        """Read every file in a directory."""
        found = (json.loads(path.read_text(encoding="utf-8")) for path in sorted(directory.glob("*.json")))
        return cls({data["benchmark"]: _measured(data) for data in found})

    def rows(self, benchmark: str, table: str | None = None) -> Iterator[Row]:
        """The rows of a benchmark's tables, or of those whose name has a text in it."""
        measured = self.by_name.get(benchmark)
        for each in measured.tables if measured else ():
            if table is None or table in each.name:
                yield from each.rows

    def number(self, benchmark: str, column: str, where: Mapping[str, Any]) -> float | None:
        """The number in a column of the first row that has these cells, None if there is none."""
        for row in self.rows(benchmark):
            if row.get(column) is not None and where.items() <= row.items():
                return median_of(row[column])
        return None


def _measured(data: Mapping[str, Any]) -> Measured:
    tables = [Table(table["name"], table["rows"], table["note"]) for table in data["tables"]]
    return Measured(data["benchmark"], data["about"], data["machine"], data["repeat"], tables)
