"""Figures from sweep data: functions of charts.js and what they are made of, called in a browser."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.browser.conftest import Page
from tests.browser.sweeps import BEGAN_AT, histories, run_id, sweep_data

laws = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


def view(page: Page, **choices: Any) -> dict[str, Any]:
    """What a reader sees who has chosen nothing but this."""
    usual = {
        "metric": "loss",
        "goal": "minimize",
        "scale": "linear",
        "chosen": None,
        "parameter": None,
        "against": "trials",
        "marked": {},
        "order": [],
        "now_s": BEGAN_AT + 10_000,
        "theme": page.call("scales.js", "THEMES")["light"],
        "has_webgl": True,
    }
    return usual | choices


def figure(page: Page, name: str, data: dict[str, Any], **choices: Any) -> dict[str, Any]:
    """A figure of charts.js."""
    module = "timeline.js" if name == "timeline" else "charts.js"
    found: dict[str, Any] = page.call(module, name, data, view(page, **choices))
    return found


@pytest.mark.parametrize(("goal", "choose"), [("minimize", min), ("maximize", max)])
def test_the_best_so_far_never_gets_worse(page: Page, goal: str, choose: Any) -> None:
    data = sweep_data(20)
    points, steps = figure(page, "bestSoFar", data, goal=goal)["data"]
    losses = data["runs"]["metrics"]["loss"]
    order = sorted(range(20), key=lambda index: data["runs"]["ended_at"][index])
    assert points["y"] == [losses[index] for index in order]
    assert points["x"] == list(range(1, 21))
    assert steps["y"] == [choose(points["y"][: at + 1]) for at in range(20)]


def test_only_finished_trials_count_as_best(page: Page) -> None:
    data = sweep_data(6, states=("crashed", "killed", "running"))
    data["runs"]["metrics"]["loss"] = [3.0, 2.0, 4.0, 1.0, 0.5, 0.1]
    assert sorted(figure(page, "bestSoFar", data)["data"][0]["y"]) == [2.0, 3.0, 4.0]
    assert page.call("facts.js", "bestRun", data, "loss", "minimize") == 1
    assert page.call("facts.js", "bestRun", data, "loss", "maximize") == 2


def test_a_log_axis_is_used_where_all_values_are_positive(page: Page) -> None:
    data = sweep_data(6)
    assert figure(page, "scatter", data, scale="log")["layout"]["yaxis"]["type"] == "log"
    data["runs"]["metrics"]["loss"][0] = 0.0
    assert figure(page, "scatter", data, scale="log")["layout"]["yaxis"]["type"] == "linear"


def test_curves_of_hundreds_of_runs_are_few_lines_with_gaps(page: Page) -> None:
    data = sweep_data(300)
    made = page.call("charts.js", "curves", data, histories(data, points=50), view(page))
    assert len(made["data"]) <= page.call("scales.js", "COLOUR_BINS")
    assert sum(trace["y"].count(None) for trace in made["data"]) == 300
    # Lines are quicker without WebGL, however many.
    assert {trace["type"] for trace in made["data"]} == {"scatter"}
    # The best tenth share the best colour, and nobody else has it.
    colours = {run: trace["line"]["color"] for trace in made["data"] for run in trace["customdata"]}
    losses = data["runs"]["metrics"]["loss"]
    best, worst = (run_id(losses.index(choose(losses))) for choose in (min, max))
    assert colours[best] != colours[worst]


def test_curves_of_runs_without_the_metric_are_grey(page: Page) -> None:
    data = sweep_data(3, states=("running",))
    drawn = histories(data, points=3)
    data["runs"]["metrics"]["loss"][2] = None
    made = page.call("charts.js", "curves", data, drawn, view(page))
    grey = page.call("scales.js", "THEMES")["light"]["faint"]
    assert [t["customdata"][0] for t in made["data"] if t["line"]["color"] == grey] == [run_id(2)]


@pytest.mark.parametrize("goal", ["minimize", "maximize"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_best_line_is_drawn_last_and_stands_out(page: Page, goal: str, scheme: str) -> None:
    data = sweep_data(10)
    theme = page.call("scales.js", "THEMES")[scheme]
    made = figure(page, "parallelCoordinates", data, goal=goal, theme=theme)
    losses = data["runs"]["metrics"]["loss"]
    best = (min if goal == "minimize" else max)(losses)
    assert losses[made["runs"][-1]] == best
    assert made["data"][0]["line"]["color"][-1] == 1
    assert made["data"][0]["line"]["colorscale"][-1] == [1, theme["stops"][-1]]


def test_lines_leave_out_runs_without_the_metric(page: Page) -> None:
    made = figure(page, "parallelCoordinates", sweep_data(6, states=("failed", "pending")))
    assert sorted(made["runs"]) == [0, 1, 2, 3]


PLACES = [
    ("numbers", "number", "linear", [1, 3], [1, 3], [1, 3], None),
    ("one number", "number", "linear", [4, 4], [4, 4], [3.6, 4.4], ["4"]),
    ("one small number", "number", "linear", [-1e-5], [-1e-5], [-1.1e-5, -0.9e-5], ["-1e-5"]),
    ("one number on a log scale", "number", "log", [1e-5], [-5], [-5.0414, -4.9586], ["1e-5"]),
    ("nothing but zero", "number", "linear", [0, 0], [0, 0], [-1, 1], ["0"]),
    ("one number or none", "number", "linear", [4, None], [4, 3.6], [3.6, 4.4], ["none", "4"]),
    ("log", "number", "log", [0.01, 1], [-2, 0], [-2, 0], ["0.01", "0.1", "1"]),
    ("log of zero is linear", "number", "log", [0, 1], [0, 1], [0, 1], None),
    ("categories in order", "category", "linear", ["b", "a10", "a9"], [2, 1, 0], [0, 2], ["a9", "a10", "b"]),
    ("alike but different", "category", "linear", [1, "1", None], [1, 2, 0], [0, 2], ["none", "1", "1"]),
    ("absent", "number", "linear", [0, 10, None], [0, 10, -1.2], [-1.2, 10], ["none", "0", "2", "4", "6", "8", "10"]),
    ("texts among numbers", "number", "linear", [1, "x"], [0, 1], [0, 1], ["1", "x"]),
    ("all absent", "number", "linear", [None], [0], [-0.5, 0.5], ["none"]),
]


@pytest.mark.parametrize("case", PLACES, ids=[case[0] for case in PLACES])
def test_values_have_places_on_an_axis(page: Page, case: tuple[Any, ...]) -> None:
    _, kind, scale, values, places, reach, texts = case
    axis = page.call("scales.js", "parameterAxis", {"name": "p", "kind": kind, "scale": scale}, values)
    assert axis["places"] == pytest.approx(places)
    assert axis["range"] == pytest.approx(reach, abs=1e-9, rel=1e-5)
    assert axis["texts"] == texts


@pytest.mark.parametrize(
    ("scale", "reach"), [("linear", [0.45e-3, 0.55e-3]), ("log", [-3.3424, -3.2596])], ids=["linear", "log"]
)
def test_a_metric_that_is_the_same_for_all_is_in_the_middle_of_its_axis(
    page: Page, scale: str, reach: list[float]
) -> None:
    data = sweep_data(6, states=("running",))
    data["runs"]["metrics"]["loss"] = [0.5e-3] * 5 + [None]
    for name in ("scatter", "bestSoFar"):
        axis = figure(page, name, data, scale=scale)["layout"]["yaxis"]
        assert (axis["type"], axis["range"]) == (scale, pytest.approx(reach, rel=1e-4))
    drawn = page.call("charts.js", "curves", data, histories(data, points=1), view(page, scale=scale))
    assert "range" not in drawn["layout"]["yaxis"]
    *_, last = figure(page, "parallelCoordinates", data, scale=scale)["data"][0]["dimensions"]
    assert (last["range"], last["ticktext"]) == (pytest.approx(reach, rel=1e-4), ["0.0005"])
    data["runs"]["metrics"]["loss"][0] = 1.0
    assert "range" not in figure(page, "scatter", data, scale=scale)["layout"]["yaxis"]


def test_many_categories_get_few_ticks(page: Page) -> None:
    values = [f"line {index}" for index in range(1000)]
    axis = page.call("scales.js", "parameterAxis", {"name": "p", "kind": "category", "scale": "linear"}, values)
    assert len(axis["ticks"]) <= 16
    assert axis["texts"][0] == "line 0"


def test_the_timeline_shows_idle_gaps_deaths_and_hand_overs(page: Page) -> None:
    data = sweep_data(3)
    data["agents"] = [
        {"name": "a", "host": "n1", "began_at": BEGAN_AT, "ended_at": BEGAN_AT + 50, "ended": "died",
         "job": "812_0", "trials": [
            {"run": run_id(0), "began_at": BEGAN_AT + 10, "ended_at": BEGAN_AT + 50, "how": "lost"}]},
        {"name": "b", "host": "n2", "began_at": BEGAN_AT, "ended_at": None, "ended": None, "trials": [
            {"run": run_id(1), "began_at": BEGAN_AT, "ended_at": BEGAN_AT + 20, "how": "handed over"},
            {"run": run_id(0), "began_at": BEGAN_AT + 60, "ended_at": None, "how": None}]},
    ]  # fmt: skip
    made = figure(page, "timeline", data, now_s=BEGAN_AT + 100)["data"]
    traces = {trace.get("name", "life"): trace for trace in made}
    assert set(traces) == {"life", "lost", "handed over", "running", "agent died"}
    assert traces["life"]["x"] == [50_000, 100_000]
    assert traces["agent died"]["text"] == ["<b>a (job 812_0)</b> died on n1"]
    assert "<br>a (job 812_0), 40 s" in traces["lost"]["text"][0]
    assert "<br>b, 40 s" in traces["running"]["text"][0]
    assert traces["lost"]["x"] == [40_000]
    assert traces["running"]["x"] == [40_000]
    assert (traces["running"]["y"], traces["agent died"]["y"]) == ([1], [0])
    assert len({traces[name]["marker"]["color"] for name in ("lost", "handed over", "running")}) == 3


def test_a_timeline_of_thousands_of_trials_is_an_area_for_each_way_to_end(page: Page) -> None:
    data = sweep_data(2000, states=("failed", "running"), agents=80)
    life, *areas, places = figure(page, "timeline", data, now_s=data["sweep"]["now"])["data"]
    assert {trace["name"]: trace["x"].count(None) for trace in areas} == {"finished": 1998, "failed": 1, "running": 1}
    assert {trace["fill"] for trace in areas} == {"toself"}
    assert len({trace["fillcolor"] for trace in areas}) == 3
    # A rectangle is from the beginning to the end of a trial, in its agent's row.
    agent = data["agents"][3]
    (at,) = [i for i, run in enumerate(places["customdata"]) if run == agent["trials"][0]["run"]][:1]
    assert places["y"][at] == 3
    began, ended = (page.call("format.js", "plotTime", agent["trials"][0][key]) for key in ("began_at", "ended_at"))
    assert began < places["x"][at] < ended
    (finished,) = [trace for trace in areas if trace["name"] == "finished"]
    corners = finished["x"].index(began)
    assert began in finished["x"]
    assert set(finished["y"][corners : corners + 5]) <= {row + side for row in range(80) for side in (-0.36, 0.36)}
    # The pointer finds every trial.
    assert set(places["customdata"]) == set(data["runs"]["id"])
    assert set(places) >= {"text", "hovertemplate"}
    assert len(life["y"]) == 80


def test_all_trials_of_a_run_are_framed_when_it_is_chosen_among_thousands(page: Page) -> None:
    data = sweep_data(600)
    *_, frame = figure(page, "timeline", data, chosen=run_id(5))["data"]
    assert frame["x"].count(None) == 1
    assert set(frame["y"]) == {1 - 0.36, 1 + 0.36, None}


@pytest.mark.parametrize(
    ("function", "value", "text"),
    [
        ("formatNumber", 0.123456789, "0.12346"),
        ("formatNumber", 1e-7, "1e-7"),
        ("formatNumber", 1234567, "1,234,567"),
        ("formatNumber", -0.5, "-0.5"),
        ("formatNumber", 1.5e300, "1.5e300"),
        ("formatNumber", None, "\u2013"),
        ("formatValue", "text", "text"),
        ("formatValue", [1, "a"], '[1,"a"]'),
        ("formatValue", True, "true"),
        ("formatDuration", 0.04, "0.0 s"),
        ("formatDuration", 59.6, "1 min"),
        ("formatDuration", 61, "1 min 1 s"),
        ("formatDuration", 3599.8, "1 h"),
        ("formatDuration", 7500, "2 h 5 min"),
        ("formatDuration", 200_000, "2 d 8 h"),
        ("formatSize", 999, "999 bytes"),
        ("formatSize", 1_234_567, "1.23 MB"),
        ("plotText", "<b>&x", "&lt;b&gt;&amp;x"),
        ("withoutTerminalSequences", "\x1b[1;31merror\x1b[0m: [0m] stays\n", "error: [0m] stays\n"),
        ("withoutTerminalSequences", "\x1b[?25l\x1b[2Kone\x1b[38;2;1;2;3mtwo", "onetwo"),
        ("withoutTerminalSequences", "\x1b]8;;http://x\x1b\\a link\x1b]8;;\x07 \x1b(B\x1b7ends\x1b[3", "a link ends"),
    ],
)
def test_values_are_written_as_people_read_them(page: Page, function: str, value: Any, text: str) -> None:
    assert page.call("format.js", function, value) == text


@laws
@given(st.text())
def test_no_text_is_markup_to_plotly(page: Page, text: str) -> None:
    shown = page.call("format.js", "plotText", text, 10_000)
    assert "<" not in shown
    assert ">" not in shown
    assert shown.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") == text


PLACE_KEYS = {
    "run": st.none() | st.text(min_size=1),
    "metric": st.none() | st.text(min_size=1),
    "better": st.sampled_from([None, "lower", "higher"]),
    "scale": st.sampled_from(["linear", "log"]),
    "against": st.sampled_from(["trials", "time"]),
    "key": st.none() | st.text(min_size=1),
    "parameter": st.none() | st.text(min_size=1),
    "sort": st.none() | st.text(min_size=1),
    "states": st.lists(st.sampled_from(["finished", "failed"]), unique=True),
    "text": st.text(),
    "page": st.integers(1, 10**6),
}


@laws
@given(st.fixed_dictionaries(PLACE_KEYS))
def test_a_place_is_the_same_after_a_link(page: Page, place: dict[str, Any]) -> None:
    fragment = page.call("place.js", "fragmentOf", place)
    assert page.call("place.js", "parsePlace", fragment) == place


@pytest.mark.parametrize("fragment", ["#scale=strange", "#page=-3", "#page=x", "#unknown=1", "#", ""])
def test_what_a_link_says_that_nobody_knows_is_left_at_the_default(page: Page, fragment: str) -> None:
    assert page.call("place.js", "parsePlace", fragment) == page.call("place.js", "parsePlace", "")


@laws
@given(st.data())
def test_changes_add_up_to_the_data_that_they_are_changes_of(page: Page, drawn: st.DataObject) -> None:
    before = sweep_data(drawn.draw(st.integers(0, 8)))
    after = sweep_data(drawn.draw(st.integers(len(before["runs"]["id"]), 10)))
    changed = drawn.draw(st.sets(st.sampled_from(range(10)))) if after["runs"]["id"] else set()
    new = set(range(len(before["runs"]["id"]), len(after["runs"]["id"])))
    rows = sorted(index for index in changed | new if index < len(after["runs"]["id"]))
    for index in rows:
        after["runs"]["state"][index] = "failed"
        after["runs"]["metrics"]["loss"][index] = None
    after["runs"]["metrics"]["later"] = [1.0 if index in rows else None for index in range(len(after["runs"]["id"]))]
    if not rows:
        del after["runs"]["metrics"]["later"]
    gone = drawn.draw(st.sets(st.sampled_from(before["runs"]["id"]))) if before["runs"]["id"] else set()
    gone -= {run_id(index) for index in rows}
    change = {
        "sweep": {"state": "PAUSED"},
        "runs": _columns(after["runs"], rows),
        "agents": after["agents"],
        "deleted": sorted(gone),
    }
    left = [index for index, name in enumerate(after["runs"]["id"]) if name not in gone]
    made = page.call("live.js", "applyChange", before, change)
    wanted = _columns(after["runs"], left)
    # Runs of the same moment may come in either order: rows are compared by their ids.
    assert made["sweep"]["state"] == "PAUSED"
    assert made["runs"] == json.loads(json.dumps(wanted))
    assert made["agents"] == after["agents"]


def _columns(columns: Any, rows: list[int]) -> Any:
    if isinstance(columns, dict):
        return {name: _columns(column, rows) for name, column in columns.items()}
    return [columns[index] for index in rows]
