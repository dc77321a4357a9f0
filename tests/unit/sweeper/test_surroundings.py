"""Where a display is shown, and where plain lines are written instead."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import pytest

from hydra_plugins.hydra_wandb_sweeper._surroundings import Surroundings, look_around

XTERM = {"TERM": "xterm-256color"}


@pytest.mark.parametrize(
    ("surroundings", "why"),
    [
        (Surroundings(True, 80, XTERM), None),
        (Surroundings(True, 60, XTERM), None),
        (Surroundings(True, 80, {**XTERM, "NO_COLOR": ""}), None),
        (Surroundings(True, 80, {**XTERM, "FORCE_COLOR": "1"}), None),
        (Surroundings(True, 59, XTERM), "59 columns"),
        (Surroundings(False, 80, XTERM), "no terminal"),
        (Surroundings(False, 80, {**XTERM, "FORCE_COLOR": "1"}), "no terminal"),
        (Surroundings(True, 80, {"TERM": "dumb"}), "TERM=dumb"),
        (Surroundings(True, 80, {"TERM": "dumb", "FORCE_COLOR": "1"}), "TERM=dumb"),
        (Surroundings(True, 80, {}), "TERM="),
        (Surroundings(True, 80, {**XTERM, "NO_COLOR": "1"}), "NO_COLOR"),
        (Surroundings(True, 80, {**XTERM, "NO_COLOR": "1", "FORCE_COLOR": "1"}), "NO_COLOR"),
        (Surroundings(True, 80, {**XTERM, "JPY_PARENT_PID": "7"}), "notebook"),
        (Surroundings(True, 80, XTERM, is_notebook=True), "notebook"),
        (Surroundings(True, 80, XTERM, encoding="UTF-8"), None),
        (Surroundings(True, 80, XTERM, encoding="iso8859-1"), "iso8859-1"),
    ],
)
def test_a_display_needs_a_terminal_that_can_hold_it(surroundings: Surroundings, why: str | None) -> None:
    said = surroundings.why_plain()
    assert said is None if why is None else said is not None and why in said


def test_what_is_no_file_or_is_closed_is_no_terminal() -> None:
    closed = io.StringIO()
    closed.close()
    for stream in (io.StringIO(), closed):
        around = look_around(stream)
        assert (around.is_terminal, around.columns) == (False, 0)


@pytest.mark.parametrize(
    ("shell", "is_notebook"), [(None, False), (SimpleNamespace(), False), (SimpleNamespace(kernel=1), True)]
)
def test_ipython_is_a_notebook_only_with_a_kernel(
    monkeypatch: pytest.MonkeyPatch, shell: object, is_notebook: bool
) -> None:
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))  # type: ignore[arg-type]
    assert look_around(io.StringIO()).is_notebook is is_notebook


def test_ipython_is_not_imported_to_ask_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert not look_around(io.StringIO()).is_notebook
    assert "IPython" not in sys.modules
