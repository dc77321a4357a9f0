"""What report.html is made of: the page's modules as one script, in a file that asks for nothing else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hydra_plugins.hydra_wandb_sweeper._report_html import plotly_script, render
from tests.browser.conftest import Page
from tests.browser.stand_in import PAGE
from tests.browser.sweeps import histories, run_id, sweep_data

_IMPORTED = re.compile(r'^import .*"\./(.+)";$', re.MULTILINE)
_DECLARED = re.compile(r"^(?:async )?(?:function|class|const|let) (\w+)", re.MULTILINE)
CHARTS = ("parallel", "best", "curves", "importance", "scatter", "timeline")


def modules() -> list[str]:
    """The modules of report.js in their order, itself the last."""
    return [*_IMPORTED.findall((PAGE / "report.js").read_text()), "report.js"]


def open_report(page: Page, directory: Path, data: dict[str, Any], curves: list[dict[str, Any]]) -> None:
    """Open a report of that data, as a file."""
    file = directory / "report.html"
    file.write_text(render(data, curves, ["A note."], plotly_script()))
    page.driver.get(file.as_uri())
    page.wait("document.querySelector('h1') !== null")
    page.see_all()


def test_the_modules_are_one_script_without_their_imports_and_exports() -> None:
    texts = {name: (PAGE / name).read_text() for name in modules()}
    names = [name for text in texts.values() for name in _DECLARED.findall(text)]
    assert sorted(names) == sorted(set(names)), "two modules declare the same name"
    for name, text in texts.items():
        seen = modules()[: modules().index(name)]
        assert set(_IMPORTED.findall(text)) <= set(seen), f"{name} imports what comes after it"
        assert not re.search(
            r"^import [^;]*\n[^;]*;|^export (?!\{)|^import .* as |</script|<!--", text, re.MULTILINE
        ), name


def test_a_report_shows_the_same_as_the_page_without_a_server(page: Page, tmp_path: Path) -> None:
    data = sweep_data(24, states=("failed",), state="FINISHED", url="https://example.org/sweep")
    open_report(page, tmp_path, data, [histories(data), histories(data, "accuracy")])
    assert page.text(".notice") == "A note."
    assert page.text("h1") == "digits"
    assert page.attribute("main > p a", "href") == "https://example.org/sweep"
    assert [page.drawn(panel) for panel in CHARTS] == [1] * len(CHARTS)
    assert page.colour_count("parallel") > 50
    assert page.text("[data-panel=parallel] .caption").startswith("Drag along an axis")
    assert page.text("[data-card=agents]").split() == ["Agents", "4", "in", "all", "on", "3", "hosts"]
    losses = [loss for loss in data["runs"]["metrics"]["loss"] if loss is not None]
    assert float(page.text("[data-card=best] .big")) == round(min(losses), 5)
    assert len(page.texts(".runs tbody tr")) == 24
    assert page.run("return document.querySelectorAll('.buttons, td.links').length") == 0
    page.run("""
        const select = document.querySelector("[data-panel=curves] select");
        select.value = "accuracy";
        select.dispatchEvent(new Event("change"));
    """)
    page.wait("document.querySelector('[data-panel=curves] .plot').layout.yaxis.title.text === 'accuracy'")
    # Links into a file restore what was chosen, too.
    page.click(f".runs [data-focus='run {run_id(2)}']")
    assert f"run={run_id(2)}" in page.driver.current_url


def test_a_report_without_curves_says_so(page: Page, tmp_path: Path) -> None:
    open_report(page, tmp_path, sweep_data(4, state="FINISHED"), [])
    assert page.text("[data-panel=curves] .empty").startswith("No trial has logged")


def test_no_script_reads_markup_or_code_from_a_text() -> None:
    for path in PAGE.glob("*.js"):
        text = path.read_text()
        assert "innerHTML" not in text, path.name
        assert "insertAdjacentHTML" not in text, path.name
        assert not re.search(r"\beval\(|new Function|document\.write", text), path.name
        assert len(text.splitlines()) < 300, path.name


def test_a_report_beside_the_trials_links_to_what_they_left(page: Page, tmp_path: Path) -> None:
    data = sweep_data(3, state="FINISHED")
    data["places"] = {"directory": ["./0/", "./1/", None], "log": "trial.log", "config": ".hydra/config.yaml"}
    open_report(page, tmp_path, data, [])
    links = "return Array.from(document.querySelectorAll(arguments[0]), (a) => [a.textContent, a.href])"
    base = tmp_path.as_uri()
    assert sorted(page.run(links, "td.links a")) == [
        [text, f"{base}/{number}/{file}"]
        for text, file in (("config", ".hydra/config.yaml"), ("log", "trial.log"))
        for number in (0, 1)
    ]
    page.run("location.hash = arguments[0]", f"run={run_id(1)}")
    page.wait("document.querySelector('.chosen header a') !== null")
    assert page.run(links, ".chosen header a") == [
        ["directory", f"{base}/1/"],
        ["config", f"{base}/1/.hydra/config.yaml"],
        ["log", f"{base}/1/trial.log"],
    ]


def test_a_report_of_a_server_that_tells_nothing_of_agents_says_so(page: Page, tmp_path: Path) -> None:
    data = {**sweep_data(3, state="FINISHED"), "agents": [], "knows_agents": False}
    open_report(page, tmp_path, data, [])
    words = "The server doesn't tell which agents there were."
    assert page.text("[data-card=agents]") == f"Agents\n\u2013\n{words}"
    assert words in page.text("[data-panel=timeline]")


def test_long_values_are_cut_on_cards(page: Page, tmp_path: Path) -> None:
    data = sweep_data(3, state="FINISHED")
    data["runs"]["parameters"]["model"] = ["long " * 600] * 3
    open_report(page, tmp_path, data, [])
    assert page.run("return document.querySelector('[data-card=best]').offsetHeight") < 400
    assert "…" in page.text("[data-card=best]")
    page.run("location.hash = arguments[0]", f"run={run_id(1)}")
    page.wait("!document.querySelector('.chosen').hidden")
    assert page.run("return document.querySelector('.chosen').offsetHeight") < 600
    page.run("location.hash = ''")
