"""Doing something once a module has been imported."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from hydra_plugins.hydra_wandb_sweeper._on_import import after_import


@pytest.fixture
def name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package that can be imported and hasn't been yet."""
    (tmp_path / "imported_later").mkdir()
    (tmp_path / "imported_later" / "__init__.py").write_text("from . import part\nVALUE = part.VALUE\n")
    (tmp_path / "imported_later" / "part.py").write_text("VALUE = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    for module in ("imported_later", "imported_later.part"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    return "imported_later"


def test_it_is_done_once_after_the_module_s_own_code(name: str) -> None:
    values = []
    finders = list(sys.meta_path)
    after_import(name, lambda: values.append(sys.modules[name].VALUE))
    importlib.import_module("json.tool")
    assert values == []
    for _ in range(2):
        module = importlib.import_module(name)
    assert values == [1]
    assert type(module.__loader__).__name__ == type(module.__spec__.loader).__name__ == "SourceFileLoader"  # type: ignore[union-attr]
    assert sys.meta_path == finders


def test_the_order_can_be_taken_back(name: str) -> None:
    values: list[int] = []
    finders = list(sys.meta_path)
    take_back = after_import(name, lambda: values.append(1))
    take_back()
    assert sys.meta_path == finders
    importlib.import_module(name)
    take_back()
    assert values == []


def test_an_error_is_the_import_s_and_the_next_import_is_an_ordinary_one(name: str) -> None:
    def fail() -> None:
        raise RuntimeError("no good")

    after_import(name, fail)
    with pytest.raises(RuntimeError, match="no good"):
        importlib.import_module(name)
    assert importlib.import_module(name).VALUE == 1


def test_a_module_that_isn_t_there_is_reported_as_ever() -> None:
    after_import("no_such_module_anywhere", lambda: None)
    with pytest.raises(ModuleNotFoundError, match="No module named 'no_such_module_anywhere'"):
        importlib.import_module("no_such_module_anywhere")
