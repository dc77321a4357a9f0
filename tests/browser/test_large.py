"""A sweep of thousands of runs."""

from __future__ import annotations

import time

import pytest

from tests.browser.conftest import Page
from tests.browser.sweeps import histories, sweep_data

RUNS = 4000
CURVES = 500
CHARTS = ("parallel", "best", "curves", "importance", "scatter", "timeline")
# Notes when the first text stood on the screen, and each chart, in ms since the page was asked for.
_NOTES = """
window.noted = {};
const note = (what) => requestAnimationFrame(() => setTimeout(() => { window.noted[what] ??= performance.now(); }));
new MutationObserver((changes) => {
    if (document.querySelector("[data-card]")) note("text");
    for (const { target, attributeName } of changes) {
        if (attributeName === "data-drawn") note(target.dataset.panel);
    }
}).observe(document, { subtree: true, childList: true, attributes: true, attributeFilter: ["data-drawn"] });
"""


@pytest.fixture
def large(page: Page, capsys: pytest.CaptureFixture[str]) -> Page:
    """A page of a sweep of 4,000 runs on which every chart is drawn, without a reader's doing."""
    data = sweep_data(RUNS, agents=80)
    # While it is open its timeline goes on every 10 s, and a slow machine needs longer than that for all charts.
    data["sweep"]["state"] = "FINISHED"
    page.server.show(data, loss=histories(data, points=200, most=CURVES))
    with page.beginning_with(_NOTES):
        page.open()
        page.wait("Object.keys(window.noted).length === arguments[0]", len(CHARTS) + 1, timeout_s=120)
    noted = sorted(page.run("return window.noted").items(), key=lambda one: one[1])
    with capsys.disabled():
        print(f" [{RUNS} runs: {', '.join(f'{what} {ms / 1000:.2f} s' for what, ms in noted)}]", end=" ")
    return page


def test_a_sweep_of_4000_runs_is_drawn_whole(large: Page) -> None:
    assert large.run("return scrollY") == 0
    assert [large.drawn(name) for name in CHARTS] == [1] * len(CHARTS)
    assert len(large.figure("parallel")["data"][0]["line"]["color"]) == RUNS
    assert len(large.figure("best")["data"][0]["y"]) == RUNS
    assert len(large.figure("scatter")["data"][0]["y"]) == RUNS
    runs = {run for trace in large.figure("curves")["data"] for run in trace["customdata"]}
    assert len(runs) == CURVES
    timeline = large.figure("timeline")["data"]
    assert sum(trace["x"].count(None) for trace in timeline if trace.get("fill")) == RUNS
    assert len({run for trace in timeline for run in trace.get("customdata", ())}) == RUNS
    assert large.text(".pages span") == "1\u201350 of 4,000"
    assert large.run("return document.querySelectorAll('.runs tbody tr').length") == 50


def test_4000_runs_take_few_elements_and_requests(large: Page) -> None:
    """What the time is made of, on any machine."""
    count = "return document.querySelectorAll(arguments[0]).length"
    # A point is an element, in two charts, and so is a curve; a trial of the timeline isn't, nor is an unseen row.
    elements = {name: large.run(count, f"[data-panel={name}] .plot *") for name in CHARTS}
    assert elements["parallel"] < 400
    assert elements["best"] < RUNS + 400
    assert elements["scatter"] < RUNS + 400
    assert elements["curves"] < CURVES + 400
    assert elements["importance"] < 400
    assert elements["timeline"] < 800
    assert large.run(count, "*") < 2 * RUNS + CURVES + 5000
    # Only lines of parallel coordinates are worth WebGL.
    contexts = (
        "return Array.from(document.querySelectorAll('canvas'), (node) => node.closest('[data-panel]').dataset.panel)"
    )
    assert set(large.run(contexts)) == {"parallel"}
    asked = [path.removeprefix(f"/page/data{large.server.sweep_path}") for path in large.server.requests]
    assert sorted(asked) == ["", "/history", "/keys"]
    names = "return performance.getEntriesByType('resource').map((entry) => entry.name)"
    fetched = large.run(names)
    assert len(fetched) == len(set(fetched))


def test_whoever_scrolls_to_a_chart_of_4000_runs_finds_it_drawn(
    large: Page, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in CHARTS:
        began_s = time.monotonic()
        colours = large.colour_count(name)
        with capsys.disabled():
            print(f"{name} is there {time.monotonic() - began_s:.2f} s after scrolling;", end=" ")
        assert colours > 20, name
    assert [large.drawn(name) for name in CHARTS] == [1] * len(CHARTS)
