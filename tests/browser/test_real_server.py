"""The pages with the embedded server itself: from the login link to a retried trial."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.browser.conftest import Page
from tests.integration.server.client import Client
from tests.integration.server.processes import Servers, claim, grid
from tests.waiting import wait_for


class Sweep:
    """A sweep on a server, one agent of it, and a page that is logged in."""

    def __init__(self, servers: Servers, page: Page) -> None:
        self.client = Client(servers.start())
        self.page = page
        self.project = "app"
        config = grid(lr=[0.1, 0.01, 0.001], model=["cnn", "mlp"]) | {"metric": {"name": "loss", "goal": "minimize"}}
        self.name = self.client.sweep(self.project, config)
        self.agent = self.client.agent(self.project, self.name)
        self.path = f"/local/{self.project}/sweeps/{self.name}"

    def run_trial(self, loss: float, exit_code: int = 0) -> str:
        """The agent's next trial, from its beginning to its end; returns its run id."""
        claimed = claim(self.client, self.project, self.agent)
        assert claimed is not None
        run, values = claimed
        self.client.start(self.project, run, self.name, values)
        self.client.log(self.project, run, [{"_step": step, "loss": loss + 1 / (step + 1)} for step in range(10)])
        self.client.stream(self.project, run, files={"output.log": {"offset": 0, "content": ["hello\n", "world\n"]}})
        self.client.finish(self.project, run, exit_code, {"loss": loss})
        return run

    def log_in(self) -> None:
        """Follow a new login link to the sweep's page."""
        answer = self.client.request("POST", "/page/login-links", json={"next": self.path})
        self.page.driver.get(answer.json()["url"])
        self.page.wait("document.querySelector('[data-card=best]') !== null")

    @property
    def state(self) -> str:
        """What the server says."""
        return str(self.client.sweep_of(self.project, self.name)["state"])


@pytest.fixture
def sweep(tmp_path: Path, page: Page) -> Iterator[Sweep]:
    servers = Servers(tmp_path / "data")
    yield Sweep(servers, page)
    page.driver.get("about:blank")
    servers.end()


def test_a_sweep_is_followed_and_steered_from_its_page(sweep: Sweep, page: Page) -> None:
    sweep.run_trial(0.5)
    failed = sweep.run_trial(0.9, exit_code=1)
    sweep.log_in()
    page.see_all()
    assert page.text("[data-card=best] .big") == "0.5"
    assert page.text("[data-card=progress] .big") == "2 / 6"
    drawn = page.figure("curves")["data"]
    assert sum(value is not None for trace in drawn for value in trace["y"]) == 20
    # What happens is seen without a reload.
    sweep.run_trial(0.25)
    page.wait("document.querySelector('[data-card=best] .big').innerText === '0.25'")
    assert page.text("[data-card=progress] .big") == "3 / 6"
    page.click("[data-action=pause]")
    page.wait("document.querySelector('.title [aria-live]').innerText === 'paused'")
    assert sweep.state == "PAUSED"
    page.click("[data-action=resume]")
    page.wait("document.querySelector('.title [aria-live]').innerText === 'running'")
    page.click("[data-action=retry]")
    page.wait("document.querySelector('.notice[data-about=done]')?.innerText.includes('1 trial offered again')")
    claimed = claim(sweep.client, sweep.project, sweep.agent)
    assert claimed is not None
    assert claimed[0] == failed
    page.click("[data-action=cancel]")
    page.click("dialog [value=yes]")
    page.wait("document.querySelector('.title [aria-live]').innerText === 'canceled'")
    assert sweep.state == "CANCELED"


def test_pages_lead_from_the_list_to_a_run_and_back(sweep: Sweep, page: Page) -> None:
    run = sweep.run_trial(0.5)
    sweep.log_in()
    page.click(".top a")
    page.click(f"tbody a[href='{sweep.path}']")
    page.click(".runs td.links a:last-child")
    page.wait("document.querySelector('#log pre')?.innerText === 'hello\\nworld\\n'")
    assert page.texts("#config th") == ["lr", "model"]
    assert dict(zip(page.texts("#summary th"), page.texts("#summary td"), strict=True))["loss"] == "0.5"
    page.click("main > .facts a")
    page.wait("document.querySelector('.chosen') !== null && !document.querySelector('.chosen').hidden")
    assert page.run("return location.hash") == f"#run={run}"


def test_a_page_goes_on_after_the_server_was_started_again(tmp_path: Path, page: Page) -> None:
    servers = Servers(tmp_path / "data")
    try:
        sweep = Sweep(servers, page)
        sweep.run_trial(0.5)
        sweep.log_in()
        port = sweep.client.url.rpartition(":")[2]
        servers.kill()
        page.wait("document.querySelector('.notice[data-about=connection]') !== null")
        sweep.client = Client(servers.start("--port", port))
        sweep.run_trial(0.125)
        page.wait("document.querySelector('[data-card=best] .big').innerText === '0.125'")
        page.wait("document.querySelector('.notice[data-about=connection]') === null")
        assert _of_our_own(page.complaints()) == []
        page.driver.get("about:blank")
    finally:
        servers.end()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_who_has_no_cookie_is_told_how_to_get_in_on_any_screen(sweep: Sweep, page: Page, scheme: str) -> None:
    page.emulate(width=390, scheme=scheme)
    page.driver.delete_all_cookies()
    page.driver.get(sweep.client.url + sweep.path)
    wait_for(lambda: "hydra-sweep open" in page.run("return document.body.innerText"), "the page says how to get in")
    assert page.run("return document.documentElement.scrollWidth") <= 390
    with Image.open(io.BytesIO(page.driver.get_screenshot_as_png())) as image:
        shades = image.convert("L")
        ground = shades.getpixel((0, shades.height - 1))
        darkest, brightest = shades.getextrema()
    # What is written stands out: it is bright on a dark screen, and dark on a bright one.
    assert (ground, brightest - darkest > 180) == (darkest if scheme == "dark" else brightest, True)
    assert _of_our_own(page.complaints()) == []


def _of_our_own(complaints: list[str]) -> list[Any]:
    """Without those of the browser on requests that were refused, or met nobody."""
    return [text for text in complaints if "ERR_" not in text and "401" not in text]
