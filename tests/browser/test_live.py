"""A page follows its sweep, and says when it can't."""

from __future__ import annotations

from tests.browser.conftest import Page
from tests.browser.sweeps import histories, run_id, sweep_data
from tests.waiting import wait_for


def listening(page: Page) -> None:
    """Wait until the page hears of events."""
    wait_for(lambda: page.server.listener_count > 0, "the page listens")


def change(index: int, **values: object) -> dict[str, object]:
    """Columns of one run that has changed."""
    data = sweep_data(index + 1)["runs"]
    columns = {name: [column[index]] for name, column in data.items() if isinstance(column, list)}
    for kind in ("parameters", "metrics"):
        columns[kind] = {name: [column[index]] for name, column in data[kind].items()}
    return {**columns, **values}


def test_a_run_that_ends_is_shown_at_once(page: Page) -> None:
    page.server.show(sweep_data(8, states=("running",), expected=9))
    page.open()
    page.see_all()
    listening(page)
    assert page.text("[data-card=progress] .big") == "7 / 9"
    page.server.emit({"runs": change(7, metrics={"loss": [0.0001], "accuracy": [1.0]})})
    page.wait("document.querySelector('[data-card=progress] .big').innerText === '8 / 9'")
    assert page.text("[data-card=best] .big") == "0.0001"
    page.wait("document.querySelector('[data-panel=best] .plot').data[0].y.includes(0.0001)")
    page.server.emit({"runs": change(8)})
    page.wait("document.querySelector('[data-card=progress] .big').innerText === '9 / 9'")
    assert "trial-8" in page.texts(".runs tbody th")
    page.server.emit({"deleted": ["run00008"]})
    page.wait("document.querySelectorAll('.runs tbody tr').length === 8")


def test_the_sweep_s_state_is_spoken_when_it_changes(page: Page) -> None:
    page.open()
    listening(page)
    live = page.find(".title [aria-live=polite]")
    assert live.text == "running"
    page.click("[data-action=pause]")
    page.server.emit({"sweep": {"state": "PAUSED"}})
    page.wait("arguments[0].innerText === 'paused'", live)
    # The button that was pressed is gone: the focus is on the one in its place.
    page.wait("document.activeElement.dataset.action === 'resume'")


def test_what_the_reader_does_survives_events(page: Page) -> None:
    page.server.show(sweep_data(8, states=("running",)))
    page.open(fragment="#sort=name")
    listening(page)
    page.find(".runs input").send_keys("trial")
    page.run("document.querySelector(\"[data-focus='run run00003']\").focus()")
    page.server.emit({"runs": change(7)})
    page.wait("document.querySelector('[data-card=progress] .big').innerText === '8'")
    assert page.run("return document.activeElement.dataset.focus") == "run run00003"
    assert page.attribute(".runs input", "value") == "trial"


def test_a_button_of_the_chosen_run_stays_under_the_pointer_when_others_end(page: Page) -> None:
    page.server.show(sweep_data(9, states=("failed", "running")))
    page.open(fragment=f"#run={run_id(7)}")
    listening(page)
    page.run("window.button = document.querySelector('.chosen header button'); window.button.focus()")
    page.server.emit({"runs": change(8)})
    page.wait("document.querySelector('[data-card=progress] .big').innerText === '9'")
    assert page.run("return document.activeElement === window.button && window.button.innerText === 'Run again'")
    page.server.emit({"runs": change(7)})
    page.wait("document.querySelector('.chosen .state').innerText === 'finished'")
    assert page.texts(".chosen header button") == ["Close"]


def test_a_lost_connection_is_said_and_comes_back(page: Page) -> None:
    page.open()
    listening(page)
    page.server.refusal = 503
    page.server.end_streams()
    page.wait("document.querySelector('.notice[data-about=connection]')?.innerText.includes('Trying again')")
    # What happens meanwhile isn't missed.
    page.server.data["sweep"]["state"] = "FINISHED"
    page.server.refusal = None
    page.wait("document.querySelector('.title [aria-live]').innerText === 'finished'")
    page.wait("!document.querySelector('.notice[data-about=connection]')")
    assert all("503" in complaint or "ERR_" in complaint for complaint in page.complaints())


def test_a_login_that_has_ended_is_said(page: Page) -> None:
    page.server.refusal = 401
    page.open()
    page.wait("document.querySelector('#notices').innerText.includes('hydra-sweep open')")
    assert all("401" in complaint for complaint in page.complaints())


def test_importance_and_curves_are_asked_for_again_when_trials_end(page: Page) -> None:
    page.server.show(sweep_data(8, states=("running",)))
    page.open()
    page.see_all()
    listening(page)
    assert "Importance" in page.text("[data-panel=importance] h2")
    asked = page.server.requests.count(f"/page/data{page.server.sweep_path}/importance")
    page.server.data["importance"] = [{"name": "width", "importance": 0.9, "correlation": None}]
    page.server.histories = {"loss": histories(sweep_data(8))}
    page.server.emit({"runs": change(7)})
    page.wait("document.querySelector('[data-panel=importance] .plot').data[0].x[0] === 0.9")
    assert page.server.requests.count(f"/page/data{page.server.sweep_path}/importance") == asked + 1
    drawn = "document.querySelector('[data-panel=curves] .plot').data.flatMap((trace) => trace.customdata)"
    page.wait(f"{drawn}.includes('run00007')")


def test_a_hidden_tab_draws_nothing(page: Page) -> None:
    page.server.show(sweep_data(8, states=("running",)))
    page.open()
    page.see_all()
    listening(page)
    page.run("Object.defineProperty(document, 'hidden', {configurable: true, value: true})")
    drawn = page.drawn("best")
    page.server.emit({"runs": change(7)})
    page.wait("document.querySelector('[data-card=progress] .big').innerText === '8'")
    # Two frames later it would have been drawn.
    frames = "requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(arguments[0])))"
    page.driver.execute_async_script(frames)
    assert page.drawn("best") == drawn
    page.run("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
    page.wait("Number(document.querySelector('[data-panel=best]').dataset.drawn) > arguments[0]", drawn)
