"""report.html as a browser reads it: its own elements and scripts, and whatever runs say as data."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_plugins.hydra_wandb_sweeper._report_html import plotly_script, render

PLOTLY = "window.Plotly = {};"
HOSTILE = [
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "]]>",
    "<img src=x onerror=alert(1)>",
    "\u2028\u2029",
    "\ud800",
    "\0",
    "&lt;b&gt;",
    "'\"\\",
    "${x}",
]
TEXTS = st.one_of(st.sampled_from(HOSTILE), st.text(st.characters()))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


@dataclass
class Page(HTMLParser):
    """Elements with their attributes in order, and the text of each script by its id."""

    elements: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    scripts: list[str] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        elif self._inside != "style":
            self.texts.append(data)

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)

    @property
    def tags(self) -> list[str]:
        return [tag for tag, _ in self.elements]


def read(text: str) -> Page:
    page = Page()
    page.feed(text)
    page.close()
    return page


def data_of(**more: Any) -> dict[str, Any]:
    return {"sweep": {"id": "ab12", "name": None}, **more}


@given(VALUES, VALUES, TEXTS, st.lists(TEXTS, max_size=2))
def test_whatever_runs_say_is_read_back_and_adds_no_element(
    value: Any, history: Any, name: str, notes: list[str]
) -> None:
    data, histories = data_of(value=value), [{"key": "loss", "runs": history}]
    data["sweep"]["name"] = name
    page = read(render(data, histories, notes, PLOTLY))
    plain = read(render(data_of(), [], ["a note"] * len(notes), PLOTLY))
    assert page.tags == plain.tags
    assert page.comments == []
    assert [json.loads(script) for script in page.scripts[:2]] == [data, histories]
    assert page.scripts[2:] == plain.scripts[2:]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_stand_in_the_file_in_ascii_without_a_tag(text: str) -> None:
    script = read(render(data_of(value=text), [], [], PLOTLY)).scripts[0]
    assert script.isascii()
    assert not re.search(r"[<>&\u2028\u2029]", script)


def test_title_and_notes_are_texts() -> None:
    data = data_of()
    data["sweep"]["name"] = "<b>a & b</b>"
    page = read(render(data, [], ["5 < 6 & 'x'"], PLOTLY))
    assert "Sweep <b>a & b</b>" in page.texts
    assert "5 < 6 & 'x'" in page.texts
    assert "Sweep ab12" in read(render(data_of(), [], [], PLOTLY)).texts


def test_the_policy_lets_these_scripts_run_and_nothing_be_loaded() -> None:
    page = read(render(data_of(), [], [], PLOTLY))
    policy = next(a["content"] for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    parts = {part.split()[0]: part.split()[1:] for part in policy.split(";")}
    assert parts["default-src"] == ["'none'"]
    hashes = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in page.scripts[2:]]
    assert parts["script-src"][: len(hashes)] == [f"'sha256-{digest}'" for digest in hashes]
    assert "'unsafe-inline'" not in parts["script-src"]
    links = [attributes[name] for _, attributes in page.elements for name in ("src", "href") if name in attributes]
    assert links == ["data:,"], "the icon, which a browser would ask for otherwise"


def test_scripts_are_one_script_without_imports_and_exports() -> None:
    own = read(render(data_of(), [], [], PLOTLY)).scripts[3]
    assert not re.search(r"^\s*(import|export)\b", own, re.MULTILINE)
    assert own.count("function drawReport(") == 1
    assert own.rstrip().endswith("drawReport(document);\n})();")


def test_the_file_is_whole_with_plotly_itself() -> None:
    page = read(render(data_of(), [], [], plotly_script()))
    assert page.tags.count("script") == 4
    assert len(page.scripts[2]) > 1_000_000
    assert page.tags[-1] == "script"
