"""What comes from runs is text, whatever it looks like."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.browser.conftest import Page
from tests.browser.sweeps import sweep_data

HOSTILE = "</script><img src=x onerror=\"window.taken = 'yes'\"><b>bold</b>&lt;i&gt; %{y} javascript:alert(1)"


def hostile_data() -> dict[str, Any]:
    """Sweep data in which every text is hostile."""
    data = sweep_data(6, states=("failed",), name=HOSTILE, description=HOSTILE)
    data["sweep"]["metric"] = {"name": HOSTILE, "goal": "minimize"}
    runs = data["runs"]
    for column in ("name", "host", "agent"):
        runs[column] = [f"{HOSTILE} {index}" for index in range(6)]
    runs["reason"] = [None] * 5 + [HOSTILE]
    runs["parameters"][HOSTILE] = [f"{HOSTILE} {index}" for index in range(6)]
    data["parameters"] = [*data["parameters"], {"name": HOSTILE, "kind": "category", "scale": "linear"}]
    runs["metrics"][HOSTILE] = runs["metrics"].pop("loss")
    data["importance"][0]["name"] = HOSTILE
    data["importance_by"] = HOSTILE
    for agent in data["agents"]:
        agent |= {"name": f"{HOSTILE} {agent['name']}", "host": HOSTILE}
    return data


def assert_only_text(page: Page) -> None:
    """Nothing of it became an element, or ran."""
    assert page.run("return window.taken ?? null") is None
    assert page.run("return document.querySelectorAll('main img, main script, main b:not(.plotly *)').length") == 0
    assert page.run("return document.querySelectorAll(\"[href^='javascript']\").length") == 0


def test_a_sweep_of_hostile_texts_shows_them_as_they_are(page: Page) -> None:
    data = hostile_data()
    curves = [{"id": i, "steps": [0, 1], "values": [1.0, 0.5]} for i in data["runs"]["id"]]
    page.server.show(data, **{HOSTILE: {"key": HOSTILE, "runs": curves}})
    page.open(fragment="#run=run00005")
    page.see_all()
    assert page.text("h1") == HOSTILE
    assert page.text(".description") == HOSTILE
    assert page.text(".chosen h2") == f"{HOSTILE} 5"
    assert page.text(".chosen .warning") == HOSTILE
    assert f"{HOSTILE} 0" in page.texts(".runs tbody th")
    assert any(title.startswith(HOSTILE) for title in page.texts(".runs thead th"))
    # Plotly's texts read a kind of HTML: it is escaped, and so is shown.
    assert page.run("return document.querySelectorAll('.plot a').length") == page.run(
        "return document.querySelectorAll('.plot .modebar a').length"
    )
    titles = page.texts("[data-panel=scatter] .ytitle")
    assert titles[0].startswith("</script><img src=x")
    labels = page.texts("[data-panel=parallel] .axis-title")
    assert any(label.startswith("</script><img") for label in labels)
    assert_only_text(page)
    page.run("""
        const plot = document.querySelector("[data-panel=scatter] .plot");
        Plotly.Fx.hover(plot, [{curveNumber: 0, pointNumber: 1}]);
    """)
    page.wait("document.querySelector('[data-panel=scatter] .hoverlayer text') !== null")
    assert "onerror" in page.text("[data-panel=scatter] .hoverlayer")
    assert_only_text(page)


def test_a_run_of_hostile_texts_shows_them_as_they_are(page: Page) -> None:
    page.server.run = {
        "run": {"state": "failed"} | dict.fromkeys(("name", "reason", "host", "agent", "sweep"), HOSTILE),
        "config": {HOSTILE: {HOSTILE: HOSTILE}},
        "summary": {HOSTILE: HOSTILE},
        "files": [{"name": f"../{HOSTILE}", "size_bytes": 1}],
    }
    page.server.log = f"{HOSTILE}\n"
    page.open("/local/app/runs/run00000")
    assert page.text("h1") == HOSTILE
    assert page.text("#log pre") == HOSTILE
    assert page.texts("#config th") == [f"{HOSTILE}.{HOSTILE}"]
    assert page.texts("#summary td") == [HOSTILE]
    assert page.texts("#files a") == [f"../{HOSTILE}"]
    assert_only_text(page)


def test_a_list_of_hostile_texts_shows_them_as_they_are(page: Page) -> None:
    page.server.data = hostile_data()
    page.server.sweeps = None
    data = page.server.data
    data["runs"]["metrics"]["loss"] = data["runs"]["metrics"][HOSTILE]
    data["sweep"] |= {"entity": HOSTILE, "project": HOSTILE}
    page.open("/")
    assert page.texts("tbody th > a") == [HOSTILE]
    assert_only_text(page)


@pytest.mark.parametrize("address", ["javascript:alert(1)", "data:text/html,x"])
def test_a_report_links_to_web_addresses_only(page: Page, address: str) -> None:
    page.driver.get(f"{page.server.url}/blank")
    script = """
        const [data, done] = arguments;
        const holder = document.createElement("script");
        holder.type = "application/json";
        holder.id = "sweep-data";
        holder.textContent = data;
        document.body.append(holder);
        import("/page/assets/report.js").then(({drawReport}) => drawReport(document)).then(done);
    """
    page.driver.execute_async_script(script, json.dumps(sweep_data(2, url=address)))
    assert page.text("h1") == "digits"
    assert page.run("return document.querySelectorAll('main > p a').length") == 0
