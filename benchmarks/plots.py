"""The plots of the page: bars for peers beside one another, lines for what might grow.

Matplotlib is imported only to draw. A plot names its figures' digest, so that a test can tell without drawing whether
it shows the figures that are there.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from figures import Figures
from results import median_of

COLOURS = ("#4477aa", "#cc6677", "#ddcc77", "#117733", "#aa4499", "#88ccee", "#999933", "#882255")


@dataclass(frozen=True)
class Plot:
    """Figures of a benchmark's tables in one picture.

    table: text in the tables' names. x: column along which lines go, or the peers that bars are of. y: columns of
    numbers, or one. by: the column that tells series apart, if `y` is one column. without: cells
    of the rows that are left out.
    """

    name: str
    benchmark: str
    table: str
    kind: str
    x: str
    y: tuple[str, ...]
    title: str
    label: str
    by: str | None = None
    without: Mapping[str, Any] = field(default_factory=dict)
    x_log: bool = True
    y_log: bool = False

    def series(self, figures: Figures) -> dict[str, list[tuple[Any, Any]]]:
        """Name of a series -> its points; what wasn't measured is left out."""
        found: dict[str, list[tuple[Any, Any]]] = {}
        for name, x, cell in self._cells(figures):
            if x is not None and cell is not None:
                found.setdefault(name, []).append((x, cell))
        return found

    def _cells(self, figures: Figures) -> Iterator[tuple[str, Any, Any]]:
        for row in figures.rows(self.benchmark, self.table):
            if self.without and self.without.items() <= row.items():
                continue
            for column in self.y:
                yield str(row.get(self.by)) if self.by else column, row.get(self.x), row.get(column)

    def digest(self, figures: Figures) -> str:
        """What tells these points from all others."""
        text = json.dumps([self.title, self.label, self.series(figures)], sort_keys=True)
        return "figures " + hashlib.sha256(text.encode()).hexdigest()[:16]


PLOTS = (
    Plot(
        "overhead",
        "overhead",
        "A trial that logs",
        "bars",
        "with",
        ("s per trial",),
        "What a trial costs that logs one value to W&B",
        "seconds per trial (logarithmic)",
        by="trial",
        y_log=True,
    ),
    Plot(
        "overhead-returns",
        "overhead",
        "A trial that returns",
        "bars",
        "with",
        ("s per trial",),
        "What a trial costs that only returns a number",
        "seconds per trial (logarithmic)",
        by="trial",
        y_log=True,
    ),
    Plot(
        "utilisation",
        "utilisation",
        "",
        "bars",
        "with",
        ("without the ends (%)",),
        "How much of their time agents spend in trials",
        "per cent of the agents' time",
        by="trial",
    ),
    Plot(
        "growth",
        "growth",
        "",
        "lines",
        "finished before",
        ("s per trial",),
        "What a trial costs after so many that have finished",
        "seconds per trial",
    ),
    Plot(
        "latency",
        "latency",
        "Start",
        "bars",
        "with",
        ("first trial after (s)",),
        "How long the first trial is waited for",
        "seconds from pressing return",
        by="task",
    ),
    Plot(
        "latency-end",
        "latency",
        "End",
        "lines",
        "finished trials",
        ("read all events (s)", "a look while it runs (s)", "sum up (s)", "write results (s)"),
        "What the supervisor does with what so many trials have left",
        "seconds (logarithmic)",
        y_log=True,
    ),
    Plot(
        "fleet",
        "fleet",
        "agents at work",
        "bars",
        "trials",
        ("agents (CPU ms per trial)", "trials (CPU ms per trial)", "server (CPU ms per trial)"),
        "What a trial of a large fleet costs, early and late in the sweep",
        "milliseconds of CPU time",
    ),
    Plot(
        "simulate",
        "simulate",
        "by who runs them",
        "lines",
        "agents",
        ("makespan (h)",),
        "How long a simulated sweep takes whose trials can't be resumed",
        "hours",
        by="policy",
        without={"resumable": "yes"},
    ),
    Plot(
        "server",
        "server",
        "after so many finished trials",
        "lines",
        "finished trials",
        ("claim p50 (ms)", "claim p99 (ms)", "stream p50 (ms)", "finish p50 (ms)"),
        "What the embedded server's answers take after so many finished trials",
        "milliseconds",
    ),
)


def drawable(figures: Figures) -> list[Plot]:
    """The plots that there are figures for."""
    return [plot for plot in PLOTS if plot.series(figures)]


def draw(plots: Sequence[Plot], figures: Figures, directory: Path) -> None:
    """Draw plots as DIRECTORY/NAME.svg. The same figures give the same files."""
    import matplotlib

    matplotlib.use("svg")
    settings = {"svg.hashsalt": "benchmarks", "svg.fonttype": "none", "font.size": 9, "axes.titlesize": 10}
    with matplotlib.rc_context(settings):
        from matplotlib import pyplot

        directory.mkdir(parents=True, exist_ok=True)
        for plot in plots:
            figure, axes = pyplot.subplots(layout="constrained")
            (_bars if plot.kind == "bars" else _lines)(plot, plot.series(figures), axes, figure)
            axes.set_title(plot.title)
            axes.spines[["top", "right"]].set_visible(False)
            metadata = {"Date": None, "Creator": None, "Description": plot.digest(figures)}
            figure.savefig(directory / f"{plot.name}.svg", metadata=metadata)
            pyplot.close(figure)


def _bars(plot: Plot, series: dict[str, list[tuple[Any, Any]]], axes: Any, figure: Any) -> None:
    """One peer below the other, its bars of all series together."""
    peers = list(dict.fromkeys(str(x) for points in series.values() for x, _ in points))
    of_peer = {
        peer: [name for name, points in series.items() if peer in (str(x) for x, _ in points)] for peer in peers
    }
    height = 0.8 / len(series)
    figure.set_size_inches(7, 1.1 + len(peers) * (0.18 + 0.18 * len(series)))
    for index, (name, points) in enumerate(series.items()):
        places = [
            peers.index(str(x)) + (of_peer[str(x)].index(name) - (len(of_peer[str(x)]) - 1) / 2) * height
            for x, _ in points
        ]
        medians = [median_of(cell) for _, cell in points]
        bars = axes.barh(places, medians, height * 0.9, label=name, color=COLOURS[index], **_errors("x", points))
        axes.bar_label(bars, [f"{value:.3g}" for value in medians], padding=4, fontsize=8)
    axes.set_yticks(range(len(peers)), peers)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    if plot.y_log:
        axes.set_xscale("log")
        least = min(median_of(cell) for points in series.values() for _, cell in points)
        axes.set_xlim(left=10 ** math.floor(math.log10(least)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("")
    axes.set_xlabel(plot.label)
    _legend(series, figure)


def _lines(plot: Plot, series: dict[str, list[tuple[Any, Any]]], axes: Any, figure: Any) -> None:
    figure.set_size_inches(7, 3.2)
    for index, (name, points) in enumerate(series.items()):
        places, medians = [x for x, _ in points], [median_of(cell) for _, cell in points]
        axes.errorbar(places, medians, label=name, color=COLOURS[index], marker="o", **_errors("y", points))
    if plot.x_log:
        axes.set_xscale("log")
        axes.set_xticks(sorted({x for points in series.values() for x, _ in points}))
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.xaxis.set_minor_formatter("")
    axes.set_yscale("log" if plot.y_log else "linear")
    if not plot.y_log:
        axes.set_ylim(bottom=0)
    axes.set_xlabel(plot.x)
    axes.set_ylabel(plot.label)
    _legend(series, figure)


def _legend(series: dict[str, list[tuple[Any, Any]]], figure: Any) -> None:
    if len(series) > 1:
        figure.legend(loc="outside lower center", ncols=3 if sum(map(len, series)) < 70 else 2, frameon=False)


def _errors(axis: str, points: Sequence[tuple[Any, Any]]) -> dict[str, Any]:
    """Whiskers from the least to the largest measurement, if there were several of each."""
    if not all(isinstance(cell, dict) for _, cell in points):
        return {}
    below = [cell["median"] - cell["min"] for _, cell in points]
    above = [cell["max"] - cell["median"] for _, cell in points]
    return {f"{axis}err": [below, above], "capsize": 2} if axis == "y" else {"xerr": [below, above]}
