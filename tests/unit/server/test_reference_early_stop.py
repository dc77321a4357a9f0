"""The `sweeps` package is W&B's own early stopping: it and the server stop the same runs, value by value."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.server.early_stopping import GOALS, SECTIONS, VALUES, config, post
from tests.unit.server.support import Server

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what it imports is old
    sweeps = pytest.importorskip("sweeps", reason="it needs NumPy 1, which Python 3.13 has no wheels for")

NAMES = ("a", "b", "c", "d", "e", "f")
POSTS = st.lists(
    st.tuples(st.sampled_from(NAMES), st.lists(VALUES, min_size=1, max_size=6), st.booleans()), max_size=25
)


def reference(settings: Mapping[str, Any], histories: Mapping[str, list[Any]], over: set[str]) -> dict[str, Any]:
    """Names of the runs to stop now, with the engine's own words on them."""
    runs = [
        sweeps.SweepRun(
            name=name,
            state="finished" if name in over else "running",
            history=[{"loss": value} for value in values],
        )
        for name, values in histories.items()
    ]
    return {run.name: run.early_terminate_info for run in sweeps.stop_runs(dict(settings), runs)}


@settings(deadline=None, max_examples=100)
@given(SECTIONS, GOALS, POSTS)
def test_the_server_stops_the_runs_that_the_reference_stops(
    section: dict[str, Any], goal: dict[str, Any], posts: list[tuple[str, list[Any], bool]]
) -> None:
    directory = Path(tempfile.mkdtemp(prefix="early-stop-"))
    server = Server(directory)
    rule = config(section, goal)
    try:
        sweep = server.sweep({"a": {"value": 1}}, **rule)
        for name in NAMES:
            server.start(name, sweep)
        _compare(server, rule, posts)
    finally:
        server.store.close()
        shutil.rmtree(directory)


def _compare(server: Server, rule: Mapping[str, Any], posts: list[tuple[str, list[Any], bool]]) -> None:
    histories: dict[str, list[Any]] = {name: [] for name in NAMES}
    over: set[str] = set()  # ended, or told to stop
    for name, values, ends in posts:
        message = post(values, len(histories[name]))
        histories[name] += values
        if ends and name not in over:
            message |= {"complete": True, "exitcode": 0}
            over.add(name)
        server.post(name, message)
        told = {run.name for run in server.runs() if run.stop_requested}
        expected = reference(rule, histories, over)
        assert told - over == set(expected)
        for run in server.runs():
            if run.name in expected:
                _same_threshold(str(run.stop_reason), expected[run.name], rule)
        over |= told


def _same_threshold(reason: str, info: Mapping[str, Any], rule: Mapping[str, Any]) -> None:
    bracket = int(reason.split("bracket ")[1].split(",")[0])
    threshold = float(reason.split()[-1])
    sign = -1 if rule["metric"].get("goal") == "maximize" else 1
    index = info["bands"].index(bracket)
    assert threshold == pytest.approx(sign * info["thresholds"][index], rel=1e-4)


def test_the_default_of_strict_is_the_engines() -> None:
    rule = config({"min_iter": 1, "eta": 3}, {})
    histories = {"a": [1.0], "b": [2.0, 0.0]}
    assert set(reference(rule, histories, set())) == {"b"}
    loose = config({"min_iter": 1, "eta": 3, "strict": False}, {})
    assert set(reference(loose, histories, set())) == set()
