"""Pages on screens of all sizes, in light and dark, in any time zone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import Page
from tests.browser.sweeps import PARAMETERS, run_id, sweep_data
from tests.browser.test_report import open_report

PATHS = {"home": "/", "project": "/local/app", "sweep": None, "run": "/local/app/runs/run00001"}
# Charts are as wide as their panels.
TOO_WIDE = """
    return Array.from(document.querySelectorAll(".panel"), (panel) => panel.scrollWidth - panel.clientWidth)
        .filter((excess) => excess > 0)
"""


def wide_data() -> dict[str, Any]:
    """A sweep of many parameters with long names and values."""
    long = "a_long_name_without_any_place_to_break_it_" * 3
    data = sweep_data(30, states=("failed", "running"), name=long, description=long)
    for number in range(12):
        name = f"{long}{number}"
        data["parameters"] = [*data["parameters"], {"name": name, "kind": "category", "scale": "linear"}]
        data["runs"]["parameters"][name] = [long] * 30
    data["runs"]["name"] = [f"{long}{index}" for index in range(30)]
    data["runs"]["reason"] = [long] * 30
    return data


@pytest.mark.parametrize("width", [390, 768, 1280, 1920])
@pytest.mark.parametrize("name", list(PATHS))
def test_no_page_scrolls_sideways(page: Page, name: str, width: int) -> None:
    page.emulate(width=width)
    page.server.show(wide_data())
    long = page.server.data["sweep"]["name"]
    page.server.run = {
        "run": {"name": long, "state": "failed", "reason": long, "sweep": "ab12cd34"},
        "config": {long: {"a": long}},
        "summary": {long: 0.5},
        "files": [{"name": long, "size_bytes": 10}],
    }
    page.server.log = f"{long}{long}\n"
    page.open(PATHS[name], fragment=f"#run={run_id(3)}" if name == "sweep" else "")
    page.see_all()
    assert page.run("return document.documentElement.scrollWidth") <= width
    assert page.run(TOO_WIDE) == []


@pytest.mark.parametrize("width", [390, 1280])
def test_no_report_scrolls_sideways(page: Page, tmp_path: Path, width: int) -> None:
    page.emulate(width=width)
    data = wide_data()
    data["sweep"]["url"] = f"https://example.org/{'any/' * 3}{'path_without_a_place_to_break_it' * 4}"
    open_report(page, tmp_path, data, [])
    assert page.run("return document.documentElement.scrollWidth") <= width
    assert page.run(TOO_WIDE) == []


def test_a_narrow_screen_resizes_what_is_drawn(page: Page) -> None:
    page.open()
    page.see_all()
    page.emulate(width=390)
    page.wait("document.documentElement.scrollWidth <= 390")
    page.wait("document.querySelector('[data-panel=best] .plot svg').clientWidth < 390")


def test_dark_and_light_follow_the_system_at_once(page: Page) -> None:
    page.open()
    page.see_all()
    light = page.run("return getComputedStyle(document.body).backgroundColor")
    colour = page.figure("best")["layout"]["font"]["color"]
    page.emulate(scheme="dark")
    dark = page.run("return getComputedStyle(document.body).backgroundColor")
    assert _brightness(dark) < 60 < 200 < _brightness(light)
    page.see_all()
    page.wait("document.querySelector('[data-panel=best] .plot').layout.font.color !== arguments[0]", colour)
    theme = page.call("scales.js", "THEMES")["dark"]
    assert page.figure("best")["layout"]["font"]["color"] == theme["text"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_from_what_is_behind_them(page: Page, scheme: str) -> None:
    page.emulate(scheme=scheme)
    page.server.show(sweep_data(8, states=("failed", "running")))
    page.open(fragment=f"#run={run_id(7)}")
    page.see_all()
    colours = page.run("""
        const shown = (node) => node.checkVisibility() && node.innerText?.trim()
            && !node.closest(".plot, .unseen, .skip");
        const behind = (node) => {
            const colour = getComputedStyle(node).backgroundColor;
            return colour === "rgba(0, 0, 0, 0)" && node.parentElement ? behind(node.parentElement) : colour;
        };
        return Array.from(document.querySelectorAll("body *")).filter(shown)
            .map((node) => [getComputedStyle(node).color, behind(node), node.outerHTML.slice(0, 80)]);
    """)
    assert len(colours) > 50
    poor = {(text, ground, node) for text, ground, node in colours if _contrast(text, ground) < 4.5}
    assert poor == set()


def test_times_are_local(page: Page) -> None:
    page.emulate(zone="Asia/Tokyo")
    data = sweep_data(4)
    data["runs"]["began_at"][0] = 1_700_000_000  # 22:13:20 on 14 November in UTC, the next morning in Tokyo
    page.server.show(data)
    page.open(fragment="#sort=name&against=time")
    assert "Nov 15, 2023" in page.texts(".runs tbody tr")[0]
    assert "7:13" in page.texts(".runs tbody tr")[0]
    assert page.call("format.js", "plotTime", 1_700_000_000.25) == "2023-11-15 07:13:20.250"


def test_narrow_parallel_coordinates_scroll_within_their_panel(page: Page) -> None:
    page.emulate(width=390)
    page.open()
    page.see_all()
    wide = page.run("return document.querySelector('[data-panel=parallel] .scroller').scrollWidth")
    assert wide >= 84 * (len(PARAMETERS) + 1)


def _brightness(colour: str) -> float:
    return sum(_channels(colour)) / 3


def _channels(colour: str) -> list[float]:
    numbers = colour[colour.index("(") + 1 : -1].split(",")
    return [float(number) for number in numbers[:3]]


def _contrast(a: str, b: str) -> float:
    """The contrast of two colours as WCAG 2 defines it."""

    def luminance(colour: str) -> float:
        parts = [channel / 255 for channel in _channels(colour)]
        red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)
