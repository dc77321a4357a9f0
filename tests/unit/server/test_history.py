"""Pages of histories: what they hold is what a look at every line would find, however steps go."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.server.support import Server
from wandb_sweep_server import jsontext
from wandb_sweep_server.history import row_of, step_of
from wandb_sweep_server.listing import RunLists

NAN, INFINITY = math.nan, math.inf


def log(server: Server, name: str, offset: int, rows: list[Any]) -> None:
    content = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    server.post(name, {"files": {"wandb-history.jsonl": {"offset": offset, "content": content}}})


def lists_of(server: Server) -> RunLists:
    return RunLists(server.store.database, server.store.runs)


def steps_and_lines(server: Server, name: str) -> list[tuple[float, str]]:
    rows = server.store.database.rows(
        "SELECT text FROM stream_lines WHERE run_id = ? ORDER BY line", (server.run(name).id,)
    )
    return [(step_of(row_of(row["text"])), row["text"]) for row in rows]


@pytest.mark.parametrize(
    ("line", "step"),
    [
        ('{"_step": 3}', 3),
        ('{"_step": 2.5}', 2.5),
        ('{"_step": -Infinity}', -INFINITY),
        ('{"_step": true}', 1),
        ('{"_step": "3"}', 0),
        ('{"_step": null}', 0),
        ('{"loss": 1}', 0),
        ("[1]", 0),
        ("{", 0),
    ],
)
def test_a_line_without_a_number_as_its_step_has_step_zero(line: str, step: float) -> None:
    assert step_of(row_of(line)) == step


@pytest.mark.parametrize(
    ("posts", "ascends"),
    [
        ([], True),
        ([(0, [1, 1, 2]), (3, [2, 7])], True),
        ([(0, [1, 2, 1])], False),
        ([(0, [1, 2]), (2, [1])], False),
        ([(0, [0, 1, 2]), (1, [1, 2])], True),  # sent again
        ([(0, [0, 10, 20]), (1, [11, 12])], True),
        ([(0, [0, 10, 20]), (1, [11])], True),
        ([(0, [0, 10, 20]), (1, [21])], False),  # above what comes after it
        ([(5, [5]), (0, [1])], True),
        ([(5, [5]), (0, [6])], False),
        ([(5, [5]), (9, [4])], False),  # lines between them are missing
        ([(0, [1]), (1, [])], True),
        ([(0, [NAN])], False),
        ([(0, [1]), (1, [NAN]), (2, [2])], False),
        ([(0, [-1, 0, 0.5, 10**400, INFINITY])], True),
        ([(0, [1, 0]), (0, [0, 1])], False),  # it isn't looked at again
    ],
)
def test_a_run_knows_whether_its_steps_ascend(
    server: Server, posts: list[tuple[int, list[float]]], ascends: bool
) -> None:
    name = server.start(None).name
    for offset, steps in posts:
        log(server, name, offset, [{"_step": step} for step in steps])
    assert server.run(name).steps_ascend == ascends


STEPS = st.one_of(st.integers(-2, 12), st.sampled_from([2.5, 7.25, NAN, INFINITY, -INFINITY, 10**400, True, "4"]))
ODD_ROWS = st.one_of(st.builds(lambda step: {"_step": step}, STEPS), st.sampled_from([{"a": 1}, "[1]", "{", "7"]))
BOUNDS = st.none() | st.integers(-3, 14)


@st.composite
def ascending_posts(draw: st.DrawFn) -> list[tuple[int, list[Any]]]:
    """A history in pieces that may overlap, and leave lines out."""
    steps = sorted(draw(st.lists(st.one_of(st.integers(0, 12), st.floats(0, 12)), max_size=20)))
    rows: list[Any] = [{"_step": step} for step in steps]
    places = st.integers(0, len(rows))
    pieces = draw(st.lists(st.tuples(places, places), max_size=6))
    return [(begin, rows[begin:end]) for begin, end in pieces]


any_posts = st.lists(st.tuples(st.integers(0, 8), st.lists(ODD_ROWS, max_size=5)), max_size=5)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(ascending_posts() | any_posts, BOUNDS, BOUNDS)
def test_a_page_of_history_is_what_a_look_at_every_line_finds(
    server: Server, posts: list[tuple[int, list[Any]]], low: int | None, high: int | None
) -> None:
    name = server.start(None).name
    for offset, rows in posts:
        log(server, name, offset, rows)
    from_step, to_step = -INFINITY if low is None else low, INFINITY if high is None else high
    found = steps_and_lines(server, name)
    expected = [text for step, text in found if from_step <= step < to_step]

    run = server.run(name)
    assert lists_of(server).history_lines(run, low, high) == expected
    spec = {"keys": ["_step"], "minStep": low, "maxStep": high}
    assert lists_of(server).sampled_history(run, json.dumps(spec)) == [
        {"_step": jsontext.finite(row_of(text)["_step"])}
        for step, text in found
        if from_step <= step < to_step and "_step" in row_of(text)
    ]
    if run.steps_ascend:
        steps = [step for step, _ in found]
        assert steps == sorted(steps)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(ascending_posts(), st.integers(1, 25))
def test_sampled_lines_are_spread_over_the_lines_that_were_sent(
    server: Server, posts: list[tuple[int, list[Any]]], samples: int
) -> None:
    name = server.start(None).name
    for offset, rows in posts:
        log(server, name, offset, rows)
    texts = [text for _, text in steps_and_lines(server, name)]
    sampled = lists_of(server).sampled_lines(server.run(name), "history", samples)
    assert len(sampled) == min(samples, len(texts))
    assert sampled[-1:] == texts[-1:]
    if len(texts) > samples > 1:
        step = (len(texts) - 1) / (samples - 1)
        assert sampled == [texts[round(place * step)] for place in range(samples)]
