"""The list of sweeps, and the page of a run."""

from __future__ import annotations

from typing import Any

from tests.browser.conftest import Page
from tests.browser.sweeps import listed, sweep_data


def sweeps() -> list[dict[str, Any]]:
    """Three sweeps of two projects, as the server lists them."""
    running = listed(sweep_data(30, states=("running", "failed"), expected=60))
    other = listed(sweep_data(8, state="FINISHED", id="ffff0000", name=None))
    other["updated_at"] = running["updated_at"] + 9
    elsewhere = listed(sweep_data(0, id="eeee0000", name="new", project="else")) | {"updated_at": 1.0}
    return [running, other, elsewhere]


def test_the_home_page_lists_sweeps_the_last_changed_first(page: Page) -> None:
    page.server.sweeps = sweeps()
    page.open("/")
    assert page.texts("tbody th > a") == ["ffff0000", "digits", "new"]
    row = page.texts("tbody tr")[1]
    assert "running" in row
    assert "29 / 60" in row
    assert f"{page.server.sweeps[0]['best']['value']:.5f}".rstrip("0") in row
    hrefs = page.run("return Array.from(document.querySelectorAll('tbody th > a'), (a) => a.getAttribute('href'))")
    assert hrefs[1] == "/local/app/sweeps/ab12cd34"
    page.find("input").send_keys("digits")
    assert page.texts("tbody th > a") == ["digits"]
    page.click("tbody th > a")
    page.wait("document.querySelector('[data-card=best]') !== null")


def test_sweeps_of_one_name_are_told_apart_by_when_they_were_begun(page: Page) -> None:
    first, second = (listed(sweep_data(4, id=f"ab{day}0000")) | {"created_at": 1.7e9 + day * 86400} for day in (0, 1))
    page.server.sweeps = [first, second]
    page.open("/")
    assert page.texts("tbody th > a") == ["digits", "digits"]
    begun = page.texts("tbody th > .under:last-child")
    assert [text.startswith("begun Nov 1") for text in begun] == [True, True]
    assert len(set(begun)) == 2
    page.find("input").send_keys(begun[0].removeprefix("begun "))
    assert page.texts("tbody th > .under:last-child") == begun[:1]


def test_a_project_s_page_lists_its_sweeps(page: Page) -> None:
    page.server.sweeps = sweeps()
    page.open("/local/else")
    assert page.text("h1") == "local/else"
    assert page.texts("tbody th > a") == ["new"]


def test_an_empty_list_says_how_to_begin(page: Page) -> None:
    page.server.sweeps = []
    page.open("/")
    assert "hydra/sweeper=wandb" in page.text(".empty")


def test_a_run_s_page_shows_config_summary_log_and_files(page: Page) -> None:
    page.server.run = {
        "run": {"name": "trial-1", "state": "failed", "reason": "ValueError: no", "duration_s": 75, "began_at": 1.7e9,
                "ended_at": 1.7e9 + 75, "host": "node1", "agent": "agent-1", "sweep": "ab12cd34",
                "exit_code": 1, "tags": ["a", "b"], "notes": None},
        "config": {"lr": 0.01, "model": {"name": "cnn", "layers": [1, 2]}, "empty": {}},
        "summary": {"loss": 0.123456789},
        "files": [{"name": "out/trial.log", "size_bytes": 2048}],
    }  # fmt: skip
    page.server.log = "".join(f"line {number}\n" for number in range(1500))
    page.open("/local/app/runs/run00001", fragment="#log")
    assert page.text("h1") == "trial-1"
    assert page.text(".title [aria-live]") == "failed"
    assert page.text(".warning") == "ValueError: no"
    assert "exit code\n1\ntags\na, b" in page.text("main > .facts")
    assert "1 min 15 s" in page.text("main > .facts")
    assert page.attribute("main > .facts a", "href").endswith("/local/app/sweeps/ab12cd34#run=run00001")
    assert page.texts("#config th") == ["lr", "model.name", "model.layers", "empty"]
    assert page.texts("#config td") == ["0.01", "cnn", "[1,2]", "{}"]
    assert page.texts("#summary td") == ["0.12346"]
    assert page.attribute("#summary td", "title") == "0.123456789"
    assert page.text("#log pre").startswith("line 500\n")
    assert page.text("#log pre").endswith("line 1499")
    assert "The last 1,000 lines" in page.text("#log .quiet")
    assert page.attribute("#files a", "href").endswith("/files/local/app/run00001/out/trial.log")
    assert page.run("return document.querySelector('#log').getBoundingClientRect().top") < 900


def test_a_log_that_was_written_for_a_terminal_is_shown_without_its_codes(page: Page) -> None:
    page.server.log = "\x1b[32mepoch 1\x1b[0m \x1b[1mloss 0.5\x1b[0m\n\x1b]0;title\x07done\n"
    page.open("/local/app/runs/run00001")
    assert page.run("return document.querySelector('#log pre').textContent") == "epoch 1 loss 0.5\ndone\n"


def test_an_empty_run_says_what_is_missing(page: Page) -> None:
    page.open("/local/app/runs/run00001")
    missing = ["The run has no config.", "The run has no summary yet.", "The run has no files."]
    assert page.texts(".panel .empty") == missing
    assert page.text("#log .quiet") == "Nothing was printed yet."


def test_a_running_run_s_page_goes_on(page: Page) -> None:
    page.server.run = {"run": {"name": "r", "state": "running"}, "config": {}, "summary": {}, "files": []}
    page.server.log = "one\n"
    page.open("/local/app/runs/run00001")
    page.server.log = "one\ntwo\n"
    page.server.run = page.server.run | {"summary": {"loss": 1}}
    page.wait("document.querySelector('#log pre').innerText === 'one\\ntwo\\n'")
    assert page.texts("#summary th") == ["loss"]
