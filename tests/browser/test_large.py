"""A sweep of thousands of runs."""

from __future__ import annotations

import time

import pytest

from tests.browser.conftest import Page
from tests.browser.sweeps import histories, sweep_data

RUNS = 4000
CURVES = 500


def test_a_sweep_of_4000_runs_is_drawn_whole(page: Page, capsys: pytest.CaptureFixture[str]) -> None:
    data = sweep_data(RUNS, agents=80)
    page.server.show(data, loss=histories(data, points=200, most=CURVES))
    began_s = time.monotonic()
    page.open()
    shown_s = time.monotonic() - began_s
    page.wait("document.querySelectorAll('[data-drawn]').length >= 3")
    drawn_s = time.monotonic() - began_s
    page.see_all()
    all_s = time.monotonic() - began_s
    with capsys.disabled():
        print(f" [{RUNS} runs: text after {shown_s:.2f} s, first charts {drawn_s:.2f} s, all {all_s:.2f} s]", end=" ")
    assert len(page.figure("parallel")["data"][0]["line"]["color"]) == RUNS
    assert len(page.figure("best")["data"][0]["y"]) == RUNS
    assert len(page.figure("scatter")["data"][0]["y"]) == RUNS
    runs = {run for trace in page.figure("curves")["data"] for run in trace["customdata"]}
    assert len(runs) == CURVES
    bars = sum(len(trace.get("customdata", ())) for trace in page.figure("timeline")["data"])
    assert bars == RUNS
    assert page.text(".pages span") == "1\u201350 of 4,000"
    assert page.run("return document.querySelectorAll('.runs tbody tr').length") == 50
