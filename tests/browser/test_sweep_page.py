"""The page of a sweep shows what the data says, and steers the sweep."""

from __future__ import annotations

import re
import statistics

import pytest
from selenium.webdriver.common.keys import Keys

from tests.browser.conftest import Page
from tests.browser.stand_in import CSRF_TOKEN, PAGE, POLICY
from tests.browser.sweeps import histories, run_id, sweep_data
from tests.waiting import wait_for

CHARTS = ("parallel", "best", "curves", "importance", "scatter", "timeline")
MIXED = ("running", "running", "failed", "crashed", "killed", "pending")


def test_cards_say_what_the_data_says(page: Page) -> None:
    data = sweep_data(30, states=MIXED, expected=40)
    page.server.show(data)
    page.open()
    best = min(data["runs"]["metrics"]["loss"][:24])
    number = data["runs"]["metrics"]["loss"].index(best)
    assert float(page.text("[data-card=best] .big")) == pytest.approx(best, rel=1e-4)
    assert page.text("[data-card=best] button") == f"trial-{number}"
    assert f"model {data['runs']['parameters']['model'][number]}" in page.text("[data-card=best] .parameters")
    assert page.text("[data-card=progress] .big") == "27 / 40"
    assert page.text("[data-card=progress] .counts").split() == [
        *("finished", "24", "running", "2", "killed", "1", "crashed", "1", "failed", "1", "pending", "1")
    ]
    assert "left at this pace" in page.text("[data-card=progress]")
    typical_s = round(statistics.median(data["runs"]["duration_s"][:24]))
    typical = page.call("format.js", "formatDuration", typical_s)
    assert f"{typical} per trial, median" in page.text("[data-card=time]")
    assert page.text("[data-card=agents] .big") == "4 at work"
    assert "on 3 hosts" in page.text("[data-card=agents]")
    assert page.text(".title h1") == "digits"
    assert page.text(".title [aria-live=polite]") == "running"


def test_a_trial_that_made_room_has_not_ended(page: Page) -> None:
    page.server.show(sweep_data(6, states=("preempted", "killed"), expected=6))
    page.open()
    assert page.text("[data-card=progress] .big") == "5 / 6"


def test_every_chart_is_drawn_from_the_data(page: Page) -> None:
    data = page.server.data
    page.open()
    page.see_all()
    assert [page.drawn(name) > 0 for name in CHARTS] == [True] * len(CHARTS)
    # What needs WebGL can be given to Plotly, and yet not be seen.
    assert all(page.colour_count(name) > 50 for name in CHARTS)
    losses = data["runs"]["metrics"]["loss"]
    (lines,) = page.figure("parallel")["data"]
    assert [dimension["label"] for dimension in lines["dimensions"]] == ["lr", "dropout", "model", "width", "loss"]
    assert sorted(lines["dimensions"][-1]["values"]) == sorted(losses)
    points, steps = page.figure("best")["data"]
    assert sorted(points["y"]) == sorted(losses)
    assert steps["y"][-1] == min(losses)
    curves = page.figure("curves")["data"]
    drawn = [value for trace in curves for value in trace["y"] if value is not None]
    assert sorted(drawn) == sorted(value for run in page.server.histories["loss"]["runs"] for value in run["values"])
    assert page.figure("importance")["data"][0]["x"] == [0.61, 0.25, 0.1, 0.04]
    assert page.figure("scatter")["data"][0]["y"] == losses
    bars = [run for trace in page.figure("timeline")["data"] for run in trace.get("customdata", ())]
    assert sorted(bars) == data["runs"]["id"]


def test_what_is_missing_is_said(page: Page) -> None:
    page.server.show(sweep_data(0, agents=1), loss={"key": "loss", "runs": []})
    page.server.data |= {"importance": [], "importance_note": "Only 'lr' differs.", "agents": []}
    page.open()
    page.see_all()
    for panel in ("parallel", "best", "scatter"):
        assert page.text(f"[data-panel={panel}] .empty") == "No trial has a metric 'loss' yet."
    assert page.text("[data-panel=curves] .empty") == "No trial has logged 'loss' yet."
    assert page.text("[data-panel=importance] .empty") == "Only 'lr' differs."
    assert page.text("[data-panel=timeline] .empty") == "No agent has begun yet."
    assert page.text(".runs .empty") == "No trial has begun yet."
    assert "No trial has a metric 'loss' yet." in page.text("[data-card=best]")


def test_a_sweep_without_a_metric_says_so(page: Page) -> None:
    data = sweep_data(4, metric=None)
    data["runs"]["metrics"] = {}
    page.server.show(data, loss={"key": "loss", "runs": []})
    page.open()
    page.see_all()
    assert page.text("[data-panel=best] .empty") == "The sweep names no metric, and no trial has one yet."
    assert page.text("[data-card=best] .quiet") == "The sweep names no metric."
    assert len(page.texts(".runs tbody tr")) == 4


@pytest.mark.parametrize(
    ("state", "offered"),
    [
        ("RUNNING", ["Pause", "Stop", "Cancel", "Retry 2 trials"]),
        ("PAUSED", ["Resume", "Stop", "Cancel", "Retry 2 trials"]),
        ("FINISHED", ["Retry 2 trials"]),
        ("CANCELED", ["Retry 2 trials"]),
    ],
)
def test_only_what_is_possible_is_offered(page: Page, state: str, offered: list[str]) -> None:
    page.server.show(sweep_data(8, states=("failed", "crashed"), state=state))
    page.open()
    assert page.texts(".title .buttons button") == offered


def test_controls_send_their_action_with_the_csrf_token(page: Page) -> None:
    page.server.show(sweep_data(8, states=("failed",)))
    page.open()
    path = page.server.sweep_path
    page.click("[data-action=pause]")
    wait_for(lambda: page.server.posts, "the request has come")
    assert page.server.posts == [(f"{path}/pause", CSRF_TOKEN, {})]
    page.wait("document.querySelector('#notices').innerText.includes('Paused')")
    page.server.answer = (200, {"runs": 1, "message": "`hydra-sweep attach DIR` brings agents."})
    page.click("[data-action=retry]")
    wait_for(lambda: len(page.server.posts) == 2, "the request has come")
    assert page.server.posts[1] == (f"{path}/retry", CSRF_TOKEN, {})
    page.wait("document.querySelector('#notices').innerText.includes('1 trial offered again. `hydra-sweep attach')")


@pytest.mark.parametrize("action", ["stop", "cancel"])
def test_stop_and_cancel_ask_first(page: Page, action: str) -> None:
    page.open()
    page.click(f"[data-action={action}]")
    page.press(Keys.ESCAPE)
    page.wait("!document.querySelector('dialog')")
    page.click(f"[data-action={action}]")
    assert "go on" in page.text("dialog [value=no]")
    page.click("dialog [value=no]")
    page.wait("!document.querySelector('dialog')")
    assert page.server.posts == []
    page.server.answer = (200, {"state": "STOPPED"})
    page.click(f"[data-action={action}]")
    page.click("dialog [value=yes]")
    wait_for(lambda: page.server.posts, "the request has come")
    assert page.server.posts == [(f"{page.server.sweep_path}/{action}", CSRF_TOKEN, {})]


def test_a_refused_action_is_shown_in_the_server_s_words(page: Page) -> None:
    page.server.answer = (409, {"errors": [{"message": "the sweep has ended"}]})
    page.open()
    page.click("[data-action=pause]")
    page.wait("document.querySelector('#notices').innerText.includes('the sweep has ended')")
    # The browser itself remarks that an answer was a refusal.
    assert all("409" in complaint for complaint in page.complaints())


def test_a_failed_run_can_be_run_again_by_itself(page: Page) -> None:
    page.server.show(sweep_data(8, states=("failed", "failed")))
    page.server.answer = (200, {"runs": 1})
    page.open(fragment=f"#run={run_id(7)}")
    assert "ValueError: too large" in page.text(".chosen .warning")
    page.run("document.querySelectorAll('.chosen header button')[0].click()")
    wait_for(lambda: page.server.posts, "the request has come")
    assert page.server.posts[0][2] == {"runs": [run_id(7)]}


def test_a_deep_link_shows_what_it_was_made_from(page: Page) -> None:
    data = sweep_data(30, states=MIXED)
    page.server.show(data, loss=histories(data), accuracy=histories(data, "accuracy"))
    page.open()
    page.see_all()
    page.run("""
        const choose = (label, value) => {
            const labels = [...document.querySelectorAll("label")];
            const select = labels.find((node) => node.innerText.startsWith(label)).querySelector("select");
            select.value = value;
            select.dispatchEvent(new Event("change"));
        };
        choose("Metric", "accuracy");
        choose("Parameter", "model");
        choose("Of", "accuracy");
    """)
    page.click("[data-value=higher]")
    page.click("[data-value=log]")
    page.click("[data-value=time]")
    page.click(".chip[data-state=finished]")
    page.click("th[data-key=duration] button")
    page.click(".runs [data-focus='run run00003']")
    link = page.run("return location.hash")
    before = _choices(page)
    page.open(fragment=link)
    page.see_all()
    assert _choices(page) == before
    assert before["chosen"] == "trial-3"
    assert before["titles"] == ["accuracy", "accuracy", "model", "log", "date"]


def _choices(page: Page) -> dict[str, object]:
    page.wait("document.querySelector('[data-panel=curves] .plot').layout.yaxis.title.text === 'accuracy'")
    scatter, best = page.figure("scatter")["layout"], page.figure("best")["layout"]
    curves = page.figure("curves")["layout"]["yaxis"]["title"]["text"]
    axes = [scatter["yaxis"]["title"]["text"], curves, scatter["xaxis"]["title"]["text"]]
    return {
        "titles": [*axes, best["yaxis"]["type"], best["xaxis"]["type"]],
        "chosen": page.text(".chosen h2"),
        "best": page.text("[data-card=best]"),
        "rows": page.texts(".runs tbody th"),
        "pressed": page.texts("[aria-pressed=true]"),
        "sorted": page.run("return document.querySelector('[aria-sort=descending]')?.dataset.key"),
    }


def test_back_takes_back_which_run_was_chosen(page: Page) -> None:
    page.open()
    page.click(".runs [data-focus='run run00001']")
    page.click(".runs [data-focus='run run00002']")
    assert page.text(".chosen h2") == "trial-2"
    page.driver.back()
    page.wait("document.querySelector('.chosen h2').innerText === 'trial-1'")
    page.driver.back()
    page.wait("document.querySelector('.chosen').hidden")


def test_a_link_to_a_run_that_the_sweep_does_not_have_says_so(page: Page) -> None:
    page.open(fragment="#run=run99999")
    assert page.text(".chosen p") == "There is no run 'run99999' in this sweep."
    page.click(".chosen button")
    assert page.run("return document.querySelector('.chosen').hidden")


def test_a_run_that_a_link_names_is_shown_once_it_begins(page: Page) -> None:
    page.open(fragment="#run=run99999")
    page.wait("document.body.dataset.connection === 'live'")
    page.wait("document.querySelector('.chosen p')?.innerText.includes('no run')")
    begun = sweep_data(1, states=("running",))["runs"]
    page.server.emit({"runs": begun | {"id": ["run99999"]}})
    page.wait("document.querySelector('.chosen h2')?.innerText === 'trial-0'")


def test_a_chosen_run_stands_out_in_the_charts(page: Page) -> None:
    page.open(fragment=f"#run={run_id(5)}")
    page.see_all()
    loss = page.server.data["runs"]["metrics"]["loss"][5]
    assert page.figure("scatter")["data"][-1]["y"] == [loss]
    assert page.figure("best")["data"][-1]["y"] == [loss]
    assert page.figure("curves")["data"][-1]["y"] == page.server.histories["loss"]["runs"][5]["values"]
    page.click(".chosen header button:last-child")
    page.wait("document.querySelector('.chosen').hidden")
    page.wait("document.querySelector('[data-panel=scatter] .plot').data.length === 1")


def test_agents_are_named_with_their_jobs_as_far_as_these_are_known(page: Page) -> None:
    data = sweep_data(4, agents=4)
    jobs = {"agent-0": "812_0", "agent-1": "812_1", "agent-2": None}
    for agent in data["agents"][:3]:
        agent["job"] = jobs[agent["name"]]
    # A name that was used again, elsewhere: which of them had the trial isn't known by it.
    data["agents"][2:] = [{**data["agents"][1], "job": "900_1", "trials": []}, *data["agents"][2:]]
    page.server.show(data)
    page.open(fragment=f"#run={run_id(0)}&sort=name")
    cells = [row.split("trial-")[1] for row in page.texts(".runs tbody tr")]
    assert [("(job 812_0)" in text, "(job" in text) for text in cells] == [(True, True)] + [(False, False)] * 3
    assert "agent-0 (job 812_0)" in page.text(".chosen .facts")


def test_a_click_on_a_point_chooses_its_run(page: Page) -> None:
    page.open()
    page.see_all()
    page.run("""
        const plot = document.querySelector("[data-panel=scatter] .plot");
        plot.emit("plotly_click", {points: [{customdata: plot.data[0].customdata[4]}]});
    """)
    page.wait("document.querySelector('.chosen h2')?.innerText === 'trial-4'")


def test_marks_on_axes_leave_those_runs_in_the_table(page: Page) -> None:
    data = page.server.data
    page.open()
    page.see_all()
    plot = "document.querySelector('[data-panel=parallel] .plot')"
    page.run(f"return Plotly.restyle({plot}, {{'dimensions[1].constraintrange': [[[0.2, 0.5]]]}})")
    expected = [f"trial-{i}" for i, value in enumerate(data["runs"]["parameters"]["dropout"]) if 0.2 <= value <= 0.5]
    page.wait("document.querySelectorAll('.runs tbody tr').length === arguments[0]", len(expected))
    assert sorted(page.texts(".runs tbody th")) == sorted(expected)
    assert f"{len(expected)} runs of 24" in page.text("[data-panel=parallel] .caption")
    page.click("[data-panel=parallel] .caption button")
    page.wait("document.querySelectorAll('.runs tbody tr').length === 24")
    page.wait("!document.querySelector('[data-panel=parallel] .plot').data[0].dimensions[1].constraintrange")


def test_the_page_can_be_used_by_keyboard_alone(page: Page) -> None:
    page.server.show(sweep_data(8, states=("failed",)))
    page.open()
    page.tab_to("[data-action=stop]")
    page.press(Keys.ENTER)
    page.wait("document.activeElement.matches('dialog [value=no]')")
    page.press(Keys.TAB)
    page.press(Keys.ENTER)
    wait_for(lambda: page.server.posts, "the request has come")
    page.run("document.activeElement.blur()")
    page.tab_to("[data-value=log]")
    page.press(Keys.SPACE)
    page.wait("document.querySelector('[data-value=log]').getAttribute('aria-pressed') === 'true'")
    page.tab_to(".runs input")
    page.press("trial-3")
    page.wait("document.querySelectorAll('.runs tbody tr').length === 1")
    page.press(*[Keys.BACKSPACE] * 7)
    page.tab_to("th[data-key=duration] button")
    page.press(Keys.ENTER)
    page.wait("document.querySelector('th[data-key=duration]').getAttribute('aria-sort') === 'descending'")
    assert page.run("return document.activeElement.matches('th[data-key=duration] button')")
    page.tab_to(".runs tbody button")
    page.press(Keys.ARROW_DOWN, Keys.ARROW_DOWN)
    page.press(Keys.ENTER)
    third = page.texts(".runs tbody th")[2]
    page.wait("document.querySelector('.chosen h2')?.innerText === arguments[0]", third)
    outline = page.run("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"


def test_without_webgl_one_chart_says_so_and_all_else_works(page: Page) -> None:
    script = """
        const getContext = HTMLCanvasElement.prototype.getContext;
        HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
            return kind.includes("webgl") ? null : getContext.call(this, kind, ...rest);
        };
    """
    # More points than are drawn as SVG where there is a choice.
    page.server.show(sweep_data(200))
    with page.beginning_with(script):
        page.open()
        page.see_all()
        assert "need WebGL" in page.text("[data-panel=parallel] .empty")
        assert [page.drawn(name) > 0 for name in CHARTS] == [False] + [True] * 5
        assert {trace["type"] for trace in page.figure("curves")["data"]} == {"scatter"}


def test_a_stricter_security_policy_is_as_if_webgl_were_missing(page: Page) -> None:
    page.server.policy = POLICY.replace(" 'unsafe-eval'", "")
    page.server.show(sweep_data(200))
    page.open()
    page.see_all()
    page.wait("document.querySelector('[data-panel=parallel] .empty').innerText.includes('need WebGL')")
    page.wait("document.querySelector('[data-panel=curves] .plot').data[0].type === 'scatter'")
    assert page.colour_count("curves") > 50
    page.complaints()


def test_charts_offer_no_button_that_sends_them_away(page: Page) -> None:
    script = """
        const real = window.matchMedia.bind(window);
        window.matchMedia = (query) => (query.includes("hover") ? {matches: false} : real(query));
    """
    with page.beginning_with(script):
        page.open()
        page.see_all()
    titles = page.run("return Array.from(document.querySelectorAll('.modebar-btn'), (node) => node.dataset.title)")
    assert {title.lower() for title in titles} == {"download plot as a png", "zoom", "pan", "reset axes"}


def test_charts_are_there_before_they_are_seen_and_then_wait_until_they_are(page: Page) -> None:
    page.emulate(width=390, height=600)
    page.open()
    page.wait("document.querySelectorAll('[data-drawn]').length === 6")
    assert page.run("return scrollY") == 0
    page.run("document.querySelector('[data-panel=parallel]').scrollIntoView()")
    seen, unseen = page.drawn("parallel"), page.drawn("timeline")
    page.server.emit({"sweep": {"state": "PAUSED"}})
    page.wait("document.querySelector('[data-panel=parallel]').dataset.drawn > arguments[0]", seen)
    assert page.drawn("timeline") == unseen
    page.run("document.querySelector('[data-panel=timeline]').scrollIntoView()")
    page.wait("document.querySelector('[data-panel=timeline]').dataset.drawn > arguments[0]", unseen)


def test_shells_name_all_modules_so_that_browsers_need_not_find_one_through_another() -> None:
    imported, left = set[str](), ["page.js"]
    while left:
        for name in re.findall(r'^import .*"\./(.+)";$', (PAGE / left.pop()).read_text(), re.MULTILINE):
            if name not in imported:
                imported.add(name)
                left.append(name)
    for shell in PAGE.glob("*.html"):
        named = re.findall(r'rel="modulepreload" href="/page/assets/(.+)"', shell.read_text())
        assert sorted(named) == sorted(imported), shell.name
