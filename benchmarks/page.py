"""Writes docs/benchmarks.md and its plots from the figures in benchmarks/results/, without measuring anything.

    python benchmarks/page.py

The page's words are in page.md, where a line `{{ WHAT }}` stands for figures:

- `{{ goals }}`, `{{ machine }}`: the tables of these
- `{{ plot NAME }}`: a plot of plots.py
- `{{ figures BENCHMARK }}`, `{{ figures BENCHMARK: PART OF A TABLE'S NAME }}`: its tables, with their notes
- `{{ others }}`: all benchmarks that the page doesn't mention, with what they say of themselves
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from figures import Figures, Measured
from goals import GOALS
from plots import PLOTS, draw, drawable
from results import markdown, number, section

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
DOCS = HERE.parent / "docs"
PAGE = "benchmarks.md"
PLOTS_DIRECTORY = "benchmarks"
TEMPLATE = HERE / "page.md"

_PLACE = re.compile(r"^\{\{ (\w+)(?: ([\w-]+)(?:: (.+))?)? \}\}$", re.MULTILINE)
_NOTHING = "*Not measured yet.*"


def write_page(results: Path, docs: Path) -> None:
    """Write the page of the figures in `results` into `docs`, and its plots."""
    figures = Figures.load(results)
    docs.mkdir(parents=True, exist_ok=True)
    (docs / PAGE).write_text(render(TEMPLATE.read_text(encoding="utf-8"), figures), encoding="utf-8")
    draw(drawable(figures), figures, docs / PLOTS_DIRECTORY)


def render(template: str, figures: Figures) -> str:
    """The page. Raises: KeyError for a placeholder that stands for nothing."""
    mentioned = {match[2] for match in _PLACE.finditer(template) if match[1] == "figures"}
    make: Mapping[str, Callable[[str, str | None], str]] = {
        "goals": lambda *_: markdown([goal.row(figures) for goal in GOALS]),
        "machine": lambda *_: _machines(figures),
        "plot": lambda name, _: _plot(name, figures),
        "figures": lambda name, table: _tables(figures.by_name.get(name), table),
        "others": lambda *_: "\n\n".join(
            _other(measured) for name, measured in figures.by_name.items() if name not in mentioned
        ),
    }
    page = _PLACE.sub(lambda match: make[match[1]](match[2] or "", match[3]), template)
    return re.sub(r"\n{3,}", "\n\n", page).strip() + "\n"


def _plot(name: str, figures: Figures) -> str:
    plot = {plot.name: plot for plot in PLOTS}[name]
    return f"![{plot.title}]({PLOTS_DIRECTORY}/{name}.svg)" if plot.series(figures) else ""


def _tables(measured: Measured | None, table: str | None) -> str:
    if measured is None:
        return _NOTHING
    chosen = [section(each, "####") for each in measured.tables if table is None or table in each.name]
    return "\n\n".join(chosen) or _NOTHING


def _other(measured: Measured) -> str:
    title = f"## {measured.name.replace('_', ' ').capitalize()}"
    return f"{title}\n\n{measured.about}\n\n{_tables(measured, None)}"


def _machines(figures: Figures) -> str:
    """A row for each benchmark: where and when its figures were taken."""
    rows = []
    for name, measured in figures.by_name.items():
        m = measured.machine
        where = f"{m['cpu']}, {m['cores']} cores, {number(m['memory_gib'])} GiB, {m['kernel']}"
        versions = f"Python {m['python']}, wandb {m['wandb']}, Hydra {m['hydra']}"
        rows.append(
            {
                "benchmark": f"`{name}.py`",
                "machine": where,
                "versions": versions,
                "repetitions": measured.repeat,
                "commit": m["commit"],
                "date": m["date"],
            }
        )
    return markdown(rows) if rows else _NOTHING


if __name__ == "__main__":
    write_page(RESULTS, DOCS)
