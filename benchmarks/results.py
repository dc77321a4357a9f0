"""What all benchmarks share: their options, their tables on the screen, and their file of figures.

A benchmark is a script `python benchmarks/NAME.py [--quick] [--repeat N] [--output FILE.json]` whose docstring says
what is measured and why:

    def main(arguments: Sequence[str] | None = None) -> None:
        options = results.parse(results.parser(__doc__), arguments)
        rows = [{"with": "a peer", "s per trial": results.spread(seconds)}, …]
        results.report(__file__, __doc__, options, [Table("Trials", rows)])

A cell of a table is a text, a number, None (not measured) or a spread: the median of several measurements, the least
and the largest. Nothing here is imported from the project, so that a benchmark can run in any environment.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parent.parent

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """Rows with the same columns. note: what a reader has to know of them, in Markdown."""

    name: str
    rows: Sequence[Row]
    note: str = ""


# --- cells ---


def spread(values: Sequence[float]) -> dict[str, float]:
    """A cell of the median, the least and the largest of repeated measurements, and of how many there are."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "n": len(values)}


def median_of(cell: Any) -> float:
    """The number that a cell stands for: a spread's median, or the number itself."""
    return float(cell["median"] if isinstance(cell, Mapping) else cell)


def shown(cell: Any) -> str:
    """A cell as a table shows it."""
    if cell is None:
        return "-"
    if isinstance(cell, Mapping):
        if cell["n"] == 1:
            return number(cell["median"])
        return f"{number(cell['median'])} ({number(cell['min'])} to {number(cell['max'])})"
    if isinstance(cell, bool) or not isinstance(cell, float | int):
        return str(cell)
    return number(cell)


def number(value: float) -> str:
    """A number with as many digits as say something: whole from 100 on, else three significant ones."""
    if value != value:
        return "-"
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}"


def markdown(rows: Sequence[Row]) -> str:
    """Rows as a table in Markdown, numbers to the right. Columns are those of all rows, in order of appearance."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[shown(row.get(name)).replace("|", "\\|") for name in names] for row in rows]
    of_text = [any(isinstance(row.get(name), str) for row in rows) for name in names]
    widths = [max(2, *(len(line[i]) for line in [names, *cells])) for i in range(len(names))]

    def line(texts: Sequence[str]) -> str:
        padded = (
            text.ljust(width) if left else text.rjust(width)
            for text, width, left in zip(texts, widths, of_text, strict=True)
        )
        return "| " + " | ".join(padded) + " |"

    rule = ["-" * width if left else "-" * (width - 1) + ":" for width, left in zip(widths, of_text, strict=True)]
    return "\n".join([line(names), line(rule), *map(line, cells)])


# --- a script ---


def parser(doc: str | None) -> argparse.ArgumentParser:
    """The options that all benchmarks have; a script adds its own."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="for whether it runs; its figures mean little")
    parser.add_argument("--repeat", type=int, help="measurements of each figure (default: at least 5, few if quick)")
    parser.add_argument("--output", type=Path, help="a file for the figures as JSON")
    return parser


def parse(
    parser: argparse.ArgumentParser, arguments: Sequence[str] | None, *, repeat: int = 5, quick_repeat: int = 1
) -> argparse.Namespace:
    """The options, with `repeat` filled in where it wasn't given."""
    options = parser.parse_args(arguments)
    if options.repeat is None:
        options.repeat = quick_repeat if options.quick else repeat
    if options.repeat < 1:
        parser.error(f"--repeat={options.repeat}: at least one measurement is needed")
    return options


def report(script: str, doc: str | None, options: argparse.Namespace, tables: Sequence[Table]) -> None:
    """Print tables, and write them to the file that was asked for. script: its `__file__`; doc: its docstring."""
    print("\n\n".join(map(section, tables)), flush=True)
    if options.output:
        figures = {
            "benchmark": Path(script).stem,
            "about": (doc or "").strip(),
            "machine": machine(),
            "quick": options.quick,
            "repeat": options.repeat,
            "tables": [{"name": t.name, "note": t.note, "rows": _rounded(t.rows)} for t in tables],
        }
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def section(table: Table, heading: str = "###") -> str:
    """A table with its name and note, in Markdown."""
    return "\n\n".join(filter(None, [f"{heading} {table.name}", table.note, markdown(table.rows)]))


def _rounded(value: Any) -> Any:
    """Figures as they are kept: six significant digits, and None for what isn't a number."""
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    if isinstance(value, float):
        return None if value != value else float(f"{value:.6g}")
    return value


# --- the machine ---


def machine() -> dict[str, Any]:
    """Where figures come from. Memory in GiB; the date is UTC's."""
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **{name: package_version(package) for name, package in (("wandb", "wandb"), ("hydra", "hydra-core"))},
        "date": datetime.now(timezone.utc).date().isoformat(),
        "commit": commit(),
    }


def cpu_model() -> str:
    """The processor's name; of Linux only, elsewhere the architecture's."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def package_version(package: str) -> str | None:
    """Of an installed package, None if there is none."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def commit() -> str | None:
    """The project's commit, marked if files differ from it that figures don't stand in; None outside a clone."""
    head = _git("describe", "--always", "--abbrev=10")
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!benchmarks/results", ":!docs")
    return (head + (" with changes" if changed else "")) if head else None


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=REPO, capture_output=True, text=True).stdout.strip()
