"""The documentation's site builds without a warning, and asks nobody for anything."""

from __future__ import annotations

import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from docs.scripts import drawing, settings_page
from tests.docs.conftest import DOCS, ROOT

# What a browser loads by itself; a link is followed by who clicks it.
_LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src", "image": "href"}
_NOT_LOADED = {"canonical", "prev", "next"}


class Loads(HTMLParser):
    """Collects the addresses of what a page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        address = given.get(_LOADED.get(tag, ""))
        if address and given.get("rel") not in _NOT_LOADED:
            self.addresses.append(address)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built; warnings are errors."""
    directory = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(directory)]
    # Without the internet, and without a word about versions to come.
    env = {**os.environ, "HTTPS_PROXY": "http://127.0.0.1:9", "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return directory


def test_every_page_is_in_the_site_and_in_its_navigation(site: Path) -> None:
    names = {page.stem for page in DOCS.glob("*.md")}
    assert {path.stem for path in site.glob("*.html")} - {"404"} == names
    home = (site / "index.html").read_text()
    assert [name for name in sorted(names) if f'href="{name}.html"' not in home and name != "index"] == []


def test_a_page_loads_nothing_from_elsewhere(site: Path) -> None:
    for page in site.glob("*.html"):
        loads = Loads()
        loads.feed(page.read_text())
        assert [a for a in loads.addresses if "//" in a] == [], page.name
    for sheet in site.rglob("*.css"):
        assert "@import" not in sheet.read_text(), sheet.name


def test_scripts_of_the_documentation_are_not_served(site: Path) -> None:
    assert list(site.rglob("*.py")) == []


def test_the_page_of_settings_is_what_config_py_says() -> None:
    page = settings_page.render(settings_page.CONFIG.read_text())
    assert settings_page.PAGE.read_text() == page, "stale: run `make docs`"


def test_a_setting_without_a_comment_is_an_error() -> None:
    source = "class MetricConf:\n    pass\nclass WandbSweeperConf:\n    agents: int = 1\n"
    with pytest.raises(ValueError, match="no comment above the field agents"):
        settings_page.render(source)


def test_the_drawing_is_what_its_script_draws() -> None:
    assert drawing.DRAWING.read_text() == drawing.draw(), "stale: run `make docs`"
