"""docs/benchmarks.md is made from figures and of nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from all import benchmarks
from figures import Figures
from goals import GOALS, Goal
from page import DOCS, PAGE, PLOTS_DIRECTORY, RESULTS, TEMPLATE, render
from plots import PLOTS, Plot, draw, drawable
from results import spread

BARS = Plot("bars", "overhead", "", "bars", "with", ("s per trial",), "Costs", "seconds", by="trial", y_log=True)
LINES = Plot("lines", "growth", "", "lines", "finished before", ("s per trial",), "Growth", "seconds")


def save(directory: Path, benchmark: str, rows: list[dict[str, Any]], note: str = "") -> None:
    machine = {"cpu": "C", "cores": 2, "memory_gib": 8.0, "kernel": "K", "python": "3", "wandb": "0", "hydra": "1"}
    data = {
        "benchmark": benchmark,
        "about": f"About {benchmark}.",
        "machine": {**machine, "commit": "abc", "date": "2026-01-01"},
        "quick": False,
        "repeat": 5,
        "tables": [{"name": "A table", "note": note, "rows": rows}],
    }
    (directory / f"{benchmark}.json").write_text(json.dumps(data))


@pytest.fixture
def figures(tmp_path: Path) -> Figures:
    costs = {"this plugin, fork": 0.2, "plain loop in one process": 0.1}
    rows = [{"trial": "logs", "with": name, "s per trial": spread([s, 2 * s, 3 * s])} for name, s in costs.items()]
    save(tmp_path, "overhead", rows, note="A note.")
    save(tmp_path, "growth", [{"finished before": n, "s per trial": spread([0.1])} for n in (100, 100_000)])
    return Figures.load(tmp_path)


def test_the_committed_page_is_made_from_the_committed_figures() -> None:
    page = (DOCS / PAGE).read_text(encoding="utf-8")
    assert page == render(TEMPLATE.read_text(encoding="utf-8"), Figures.load(RESULTS)), "run benchmarks/page.py"


def test_the_committed_plots_show_the_committed_figures() -> None:
    figures = Figures.load(RESULTS)
    shown = {path.stem: path.read_text(encoding="utf-8") for path in (DOCS / PLOTS_DIRECTORY).glob("*.svg")}
    assert {plot.name for plot in drawable(figures)} == set(shown), "run benchmarks/page.py"
    assert [plot.name for plot in drawable(figures) if plot.digest(figures) not in shown[plot.name]] == []


def test_the_committed_figures_are_of_benchmarks_that_exist_and_were_no_quick_run() -> None:
    for path in RESULTS.glob("*.json"):
        data = json.loads(path.read_text(encoding="utf-8"))
        assert data["benchmark"] == path.stem
        assert path.stem in benchmarks()
        assert not data["quick"], path.name


def test_a_page_without_figures_says_so() -> None:
    page = render(TEMPLATE.read_text(encoding="utf-8"), Figures({}))
    assert "Not measured yet" in page
    assert "{{" not in page
    assert "](benchmarks/" not in page


def test_the_page_shows_tables_with_their_notes_and_plots_of_what_was_measured(figures: Figures) -> None:
    page = render("{{ figures overhead: A table }}\n\n{{ plot overhead }}\n\n{{ plot latency }}\n", figures)
    assert page.startswith("#### A table\n\nA note.\n\n| trial | with ")
    assert "| logs  | this plugin, fork         | 0.4 (0.2 to 0.6) |" in page
    assert "utilisation.svg" not in page


def test_benchmarks_that_the_page_does_not_mention_follow_with_what_they_say_of_themselves(figures: Figures) -> None:
    page = render("{{ figures overhead }}\n\n{{ others }}\n", figures)
    assert "## Growth\n\nAbout growth.\n\n#### A table" in page
    assert "About overhead." not in page


def test_the_page_mentions_only_plots_that_are_drawn_and_mentions_all_of_them() -> None:
    named = re.findall(r"^\{\{ plot ([\w-]+) \}\}$", TEMPLATE.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(named) == sorted(plot.name for plot in PLOTS)


@pytest.mark.parametrize(
    ("value", "at_most", "shown"),
    [
        (None, True, ("not measured", "")),
        (1.0, True, ("1 ms", "yes")),
        (2.0, True, ("2 ms", "yes")),
        (2.5, True, ("2.5 ms", "**no**")),
        (2.5, False, ("2.5 ms", "yes")),
        (2.0, False, ("2 ms", "yes")),
        (1.0, False, ("1 ms", "**no**")),
    ],
    ids=["unknown", "below", "at most", "above", "above a least", "at least", "below a least"],
)
def test_a_goal_is_met_or_not_or_unknown(value: float | None, at_most: bool, shown: tuple[str, str]) -> None:
    row = Goal("a thing", 2.0, " ms", lambda _: value, at_most).row(Figures({}))
    assert (row["reached"], row["met"]) == shown
    assert row["goal"] == ("≤ 2 ms" if at_most else "≥ 2 ms")


def test_goals_find_their_figures(figures: Figures) -> None:
    reached = {goal.what: goal.reached(figures) for goal in GOALS}
    assert reached["a trial after 10⁵ finished ones against one after 10²"] == 1.0
    assert reached["task that only returns a number (no W&B code), per trial on the embedded server"] is None


def test_the_same_figures_give_the_same_plots(tmp_path: Path, figures: Figures) -> None:
    for name in ("one", "other"):
        draw([BARS, LINES], figures, tmp_path / name)
    for plot in (BARS, LINES):
        one, other = ((tmp_path / name / f"{plot.name}.svg").read_bytes() for name in ("one", "other"))
        assert one == other
        assert plot.digest(figures).encode() in one
        assert b"<dc:date>" not in one
