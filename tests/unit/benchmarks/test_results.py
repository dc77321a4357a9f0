"""What all benchmarks share, and that all of them share it."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
import results
from all import HERE, benchmarks, main
from results import Table, markdown, number, shown, spread


@pytest.mark.parametrize("name", benchmarks())
def test_a_benchmark_says_what_it_measures_and_has_the_common_options(name: str) -> None:
    path = HERE / f"{name}.py"
    about = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert about is not None
    assert len(about.splitlines()) > 1
    said = subprocess.run([sys.executable, path, "--help"], check=True, capture_output=True, text=True).stdout
    assert about.splitlines()[0] in said
    assert {"--quick", "--repeat", "--output"} <= {word.rstrip(",") for word in said.split()}


def test_all_scripts_are_found_that_report_figures_and_nothing_else() -> None:
    assert {"bayes", "overhead", "server", "startup"} <= set(benchmarks())
    assert not {"all", "page", "results", "server_load"} & set(benchmarks())


def test_a_benchmark_that_does_not_exist_is_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["overheat"])
    assert "no benchmark is called overheat; there are bayes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (5.0, "5"), (0.012345, "0.0123"), (9.876, "9.88"), (123.4, "123"), (1e6, "1,000,000"), (12.0, "12")],
)
def test_numbers_have_as_many_digits_as_say_something(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (None, "-"),
        (float("nan"), "-"),
        ("a word", "a word"),
        (True, "True"),
        (spread([2.0]), "2"),
        (spread([1.0, 2.0, 9.0]), "2 (1 to 9)"),
    ],
    ids=["nothing", "not a number", "text", "bool", "one", "several"],
)
def test_cells_are_shown_by_what_they_are(cell: object, text: str) -> None:
    assert shown(cell) == text


def test_a_table_has_the_columns_of_all_rows_and_its_numbers_on_the_right() -> None:
    rows = [{"name": "a|b", "s": 1.5}, {"name": "c", "ms": 20}]
    assert markdown(rows) == "\n".join(
        ["| name |   s | ms |", "| ---- | --: | -: |", "| a\\|b | 1.5 |  - |", "| c    |   - | 20 |"]
    )


def test_figures_are_written_with_what_they_are_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "sub" / "x.json"
    options = results.parse(results.parser("About."), ["--output", str(path), "--quick"], quick_repeat=2)
    results.report("/somewhere/x.py", "About.\n", options, [Table("T", [{"s": 1 / 3, "n": float("nan")}], "Note.")])
    data = json.loads(path.read_text())
    assert (data["benchmark"], data["about"], data["quick"], data["repeat"]) == ("x", "About.", True, 2)
    assert data["tables"] == [{"name": "T", "note": "Note.", "rows": [{"s": 0.333333, "n": None}]}]
    machine = {"cpu", "cores", "memory_gib", "kernel", "python", "wandb", "hydra", "date", "commit"}
    assert set(data["machine"]) == machine
    assert "### T\n\nNote.\n\n|     s |  n |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "repeat"),
    [([], 5), (["--quick"], 1), (["--quick", "--repeat", "3"], 3)],
    ids=["full", "quick", "said"],
)
def test_a_figure_is_measured_five_times_or_as_often_as_is_said(arguments: list[str], repeat: int) -> None:
    assert results.parse(results.parser(""), arguments).repeat == repeat


def test_no_measurement_at_all_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        results.parse(results.parser(""), ["--repeat", "0"])
    assert "--repeat=0: at least one measurement is needed" in capsys.readouterr().err
