"""A real browser, a server that pages are told by, and what tests of pages do with both."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest
from PIL import Image
from selenium.common.exceptions import ElementClickInterceptedException, StaleElementReferenceException
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from tests.browser import chromium, stand_in
from tests.browser.stand_in import StandIn
from tests.waiting import wait_for

_T = TypeVar("_T")

# The graphics driver's remarks on how Plotly uses it.
_OF_THE_DRIVER = ("GL Driver Message", "GroupMarkerNotSet", "willReadFrequently", "[.WebGL-")
_CALL = """
const [module, name, args, done] = arguments;
import(`/page/assets/${module}`).then((found) => {
    const value = typeof found[name] === "function" ? found[name](...args) : found[name];
    done({value: JSON.stringify(value ?? null)});
}).catch((error) => done({error: `${error.name}: ${error.message}`}));
"""


class Page:
    """A browser's tab on the stand-in's pages."""

    def __init__(self, driver: Chrome, server: StandIn) -> None:
        self.driver = driver
        self.server = server

    def open(self, path: str | None = None, fragment: str = "") -> None:
        """Open a page, the sweep's if none is named, and wait until its data is there."""
        self.driver.get("about:blank")  # or only the fragment would change
        self.driver.get(f"{self.server.url}{path or self.server.sweep_path}{fragment}")
        self.wait("!document.querySelector('main noscript, main[aria-busy]')")

    def run(self, script: str, *arguments: Any) -> Any:
        """What a script returns."""
        return self.driver.execute_script(script, *arguments)

    def wait(self, condition: str, *arguments: Any, timeout_s: float = 120.0) -> Any:
        """Wait until an expression is true, and return its value."""
        return wait_for(lambda: self.run(f"return ({condition})", *arguments), condition, timeout_s)

    def call(self, module: str, name: str, *arguments: Any) -> Any:
        """Call a function of a module, or read a value of it."""
        if self.driver.current_url.startswith("about") or self.server.url not in self.driver.current_url:
            self.driver.get(f"{self.server.url}/blank")
        answer = self.driver.execute_async_script(_CALL, module, name, list(arguments))
        assert "error" not in answer, answer["error"]
        return json.loads(answer["value"])

    def find(self, selector: str) -> WebElement:
        """The element, once it is there. For nodes that stay; what is drawn anew meanwhile is nowhere afterwards."""
        self.wait("document.querySelector(arguments[0]) !== null", selector)
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def on(self, selector: str, action: Callable[[WebElement], _T]) -> _T:
        """What an action on an element returns. If the page draws the element anew before, the new one it is."""

        def done() -> list[_T]:
            try:
                return [action(self.find(selector))]
            except (StaleElementReferenceException, ElementClickInterceptedException):
                return []

        found: list[_T] = wait_for(done, f"{selector} stays where it is", 120.0)
        return found[0]

    def text(self, selector: str) -> str:
        """What an element shows."""
        return self.on(selector, lambda node: node.text)

    def attribute(self, selector: str, name: str) -> str:
        """An element's attribute or property, "" if it has none."""
        return self.on(selector, lambda node: node.get_attribute(name) or "")

    def texts(self, selector: str) -> list[str]:
        """What all such elements hold, seen or not."""
        script = "return Array.from(document.querySelectorAll(arguments[0]), (node) => node.textContent)"
        found: list[str] = self.run(script, selector)
        return found

    def click(self, selector: str) -> None:
        """Click as a person does, after scrolling there."""

        def click(node: WebElement) -> None:
            self.run("arguments[0].scrollIntoView({block: 'center'})", node)
            node.click()

        self.on(selector, click)

    def press(self, *keys: str) -> None:
        """Press keys, wherever the focus is."""
        self.driver.switch_to.active_element.send_keys(*keys)

    def tab_to(self, selector: str) -> None:
        """Go there by the tab key alone."""
        reached = "return document.activeElement?.matches(arguments[0]) ?? false"
        for _ in range(300):
            if self.run(reached, selector):
                return
            self.press(Keys.TAB)
        pytest.fail(f"the tab key doesn't reach {selector}")

    def see_all(self) -> None:
        """Scroll through the page, until every chart is drawn or says why not."""
        script = "return Array.from(document.querySelectorAll('[data-panel]'))"
        for panel in self.run(script):
            self.run("arguments[0].scrollIntoView({block: 'center'})", panel)
            said = "arguments[0].querySelector('.empty').innerText"
            self.wait(f"arguments[0].dataset.drawn || ({said} && !{said}.startsWith('Loading'))", panel)
        self.run("scrollTo(0, 0)")

    def figure(self, panel: str) -> dict[str, Any]:
        """What Plotly was given for a panel."""
        script = """
            const {data, layout} = document.querySelector(`[data-panel=${arguments[0]}] .plot`);
            return JSON.stringify({data, layout});
        """
        found: dict[str, Any] = json.loads(self.run(script, panel))
        return found

    def drawn(self, panel: str) -> int:
        """How often a panel was drawn."""
        return int(self.run(f"return document.querySelector('[data-panel={panel}]').dataset.drawn ?? 0"))

    def colour_count(self, panel: str) -> int:
        """How many colours can be seen in a panel's chart."""

        def picture(plot: WebElement) -> bytes:
            self.run("arguments[0].scrollIntoView({block: 'center'})", plot)
            return plot.screenshot_as_png

        with Image.open(io.BytesIO(self.on(f"[data-panel={panel}] .plot", picture))) as image:
            return len(image.convert("RGB").getcolors(maxcolors=2**24))

    def emulate(self, *, width: int = 1280, height: int = 900, scheme: str = "light", zone: str = "") -> None:
        """Have a screen of that size, a colour scheme, and a time zone."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        self.driver.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": zone})

    @contextmanager
    def beginning_with(self, script: str) -> Iterator[None]:
        """Run a script in each new document before those of the page."""
        added = self.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": script})
        try:
            yield
        finally:
            self.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)

    def complaints(self) -> list[str]:
        """Errors and warnings on the console since the last call, refusals of the security policy among them."""
        entries = self.driver.get_log("browser")
        messages = [entry["message"] for entry in entries if entry["level"] in ("WARNING", "SEVERE")]
        return [message for message in messages if not any(word in message for word in _OF_THE_DRIVER)]


@pytest.fixture(scope="session")
def _driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    reason = chromium.obstacle(install=False)
    if reason is not None:
        if os.environ.get("CI"):
            pytest.fail(f"no browser: {reason}")
        pytest.skip(f"no browser: {reason}")
    with chromium.started(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture(scope="session")
def _server() -> Iterator[StandIn]:
    with stand_in.running() as server:
        yield server


@pytest.fixture
def server(_server: StandIn) -> StandIn:
    """A server that tells of a sweep of 24 finished trials, until it is told otherwise."""
    _server.reset()
    return _server


@pytest.fixture
def page(_driver: Chrome, server: StandIn) -> Iterator[Page]:
    """A tab in which nothing may go wrong unseen: the test fails if the console has a complaint in the end."""
    page = Page(_driver, server)
    page.emulate()
    page.complaints()
    yield page
    found = page.complaints()
    page.driver.get("about:blank")
    assert found == []
