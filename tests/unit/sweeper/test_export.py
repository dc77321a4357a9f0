"""`hydra-sweep export`: the rows of trials.csv with the types that a format can say."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_plugins.hydra_wandb_sweeper._client import RunInfo
from hydra_plugins.hydra_wandb_sweeper._errors import SweepError
from hydra_plugins.hydra_wandb_sweeper._export import (
    export,
    format_of,
    parquet_column,
    rows_of_directory,
    rows_of_sweep,
    write_json,
)
from hydra_plugins.hydra_wandb_sweeper._results import columns_of, write_csv
from hydra_plugins.hydra_wandb_sweeper._template import Form, Slot, Template
from tests.unit.sweeper.test_report_data import INFO, Sweep, args

CELLS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers())


def told(directory: Path) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Typed rows, and those of the CSV."""
    file = io.StringIO(newline="")
    write_csv(rows_of_directory(directory, typed=False), file)
    file.seek(0)
    return rows_of_directory(directory, typed=True), list(csv.DictReader(file))


def test_rows_have_a_value_s_type_where_csv_has_its_text(tmp_path: Path) -> None:
    slots = (Slot("x", "x", Form.JSON), Slot("n", "n", Form.TEXT))
    parameters = {"x": {"values": [1, "a"]}, "n": {"values": ["null", "[1,2]"]}}
    sweep = Sweep(tmp_path, template=Template(slots), parameters=parameters)
    sweep.runs(0, {"x": 1, "n": "null"}, metrics={"loss": 0.5})
    sweep.runs(1, {"x": "a", "n": "[1,2]"}, state="failed", error_line="ValueError: no good")
    typed, texts = told(tmp_path)
    assert [(row["x"], row["n"], row.get("metric.loss"), row["error"]) for row in typed] == [
        (1, None, 0.5, None),
        ("a", [1, 2], None, "ValueError: no good"),
    ]
    assert [(row["x"], row["n"], row["metric.loss"], row["error"]) for row in texts] == [
        ("1", "null", "0.5", ""),
        ("a", "[1,2]", "", "ValueError: no good"),
    ]
    assert [row["number"] for row in typed] == [0, 1]
    assert typed[0]["started"] == "1970-01-01T00:01:41+00:00"
    assert typed[0]["directory"] is None


def test_a_server_s_runs_have_the_same_columns(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    sweep.runs(0, args(0.5), metrics={"loss": 0.5}, duration_s=5.0)
    (own,) = rows_of_directory(tmp_path, typed=True)
    run = RunInfo("r0", "finished", args(0.5), {"loss": 0.5, "_runtime": 5}, "zero", 101.0, 106.0)
    (theirs,) = rows_of_sweep(INFO, iter([run]), typed=True)
    assert list(theirs) == list(own)
    differing = {name for name in own if own[name] != theirs[name]}
    assert differing == {"attempts", "agent", "host"}, "only the ledger knows these"


def test_json_is_a_list_of_objects_with_the_same_names(tmp_path: Path) -> None:
    rows = [{"a": 1, "metric.x": math.nan}, {"a": [1, math.inf], "b": "ü\n"}]
    file = io.StringIO()
    write_json(rows, file)
    assert json.loads(file.getvalue()) == [
        {"a": 1, "b": None, "metric.x": None},
        {"a": [1, None], "b": "ü\n", "metric.x": None},
    ]
    assert file.getvalue().count("\n") == 4, "a row is a line"
    empty = io.StringIO()
    write_json([], empty)
    assert json.loads(empty.getvalue()) == []


@pytest.mark.parametrize(
    ("name", "values", "kind", "cells"),
    [
        pytest.param("lr", [0.1, 1, None], "float64", [0.1, 1.0, None], id="numbers"),
        pytest.param("n", [1, 2, None], "int64", [1, 2, None], id="integers"),
        pytest.param("n", [1, 2**70], "float64", [1.0, 2.0**70], id="integers that are too large"),
        pytest.param("flag", [True, None], "bool", [True, None], id="booleans"),
        pytest.param("x", [True, 1], "string", ["True", "1"], id="booleans and numbers"),
        pytest.param("x", ["a", 1, [1, 2]], "string", ["a", "1", "[1,2]"], id="anything"),
        pytest.param("x", [None, None], "float64", [None, None], id="nothing"),
        pytest.param("metric.acc", [1, 2], "float64", [1.0, 2.0], id="a metric is a float"),
        pytest.param("metric.acc", [10**400], "float64", [math.inf], id="a metric beyond the largest float"),
        pytest.param("error", [None], "string", [None], id="our own text"),
        pytest.param("attempts", [None], "int64", [None], id="our own integer"),
        pytest.param("x", ["\ud800"], "string", ["?"], id="half a surrogate pair"),
        pytest.param(
            "started",
            ["1970-01-01T00:00:00+00:00", None],
            "time",
            [datetime(1970, 1, 1, tzinfo=timezone.utc), None],
            id="a time",
        ),
    ],
)
def test_a_parquet_column_has_one_type(name: str, values: list[Any], kind: str, cells: list[Any]) -> None:
    assert parquet_column(name, values) == (kind, cells)


@given(st.lists(st.dictionaries(st.sampled_from(["x", "y"]), CELLS), max_size=5))
def test_whatever_the_values_are_parquet_and_json_can_be_written(rows: list[dict[str, Any]]) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    file = io.StringIO()
    write_json(rows, file)
    assert len(json.loads(file.getvalue())) == len(rows)
    for name in columns_of(rows):
        kind, cells = parquet_column(name, [row.get(name) for row in rows])
        assert len(pyarrow.array(cells, pyarrow.type_for_alias(kind))) == len(rows)


def test_a_parquet_file_holds_the_rows(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    sweep = Sweep(tmp_path)
    sweep.runs(0, args(0.5), metrics={"loss": 0.5})
    sweep.runs(1, args(0.25))
    path = tmp_path / "trials.parquet"
    export(rows_of_directory(tmp_path, typed=True), "parquet", path)
    table = parquet.read_table(path)
    assert table.column("lr").to_pylist() == [0.5, 0.25]
    assert table.column("metric.loss").to_pylist() == [0.5, None]
    assert table.column("started").to_pylist()[0] == datetime(1970, 1, 1, 0, 1, 41, tzinfo=timezone.utc)
    assert [path.name for path in tmp_path.glob("*.parquet*")] == ["trials.parquet"]


def test_without_pyarrow_the_error_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(
        SweepError, match=r"Parquet needs pyarrow \(.*\): pip install 'hydra-wandb-sweeper\[parquet\]'"
    ):
        export([{"x": 1}], "parquet", tmp_path / "trials.parquet")
    assert list(tmp_path.iterdir()) == []


def test_parquet_needs_a_file() -> None:
    with pytest.raises(SweepError, match="Parquet is no text: name a file with --output"):
        export([], "parquet", None)


@pytest.mark.parametrize(
    ("name", "format"),
    [(None, "csv"), ("a.csv", "csv"), ("a.json", "json"), ("a.PARQUET", "parquet"), ("a.pq", "parquet")],
)
def test_a_file_s_name_says_the_format(name: str | None, format: str) -> None:
    assert format_of(Path(name) if name is not None else None) == format


@pytest.mark.parametrize("name", ["a.txt", "a", ".csv"])
def test_a_name_that_says_no_format_is_asked_about(name: str) -> None:
    with pytest.raises(SweepError, match=rf"^--output {re.escape(name)}: .*\.csv, \.json, \.parquet.* --format csv"):
        format_of(Path(name))


@pytest.mark.parametrize("format", ["csv", "json", "parquet"])
def test_a_file_that_can_t_be_written_is_named_as_it_was_given(tmp_path: Path, format: str) -> None:
    path = tmp_path / "nowhere" / "x"
    with pytest.raises(SweepError, match=rf"^--output {path} can't be written: No such file or directory\. Name a"):
        export([{"x": 1}], format, path)


def test_a_text_that_none_is_written_somehow(tmp_path: Path) -> None:
    export([{"x": "a\udcffb"}], "csv", tmp_path / "x.csv")
    assert (tmp_path / "x.csv").read_bytes().split() == [b"x", rb"a\udcffb"]


def test_standard_output_gets_a_file_s_text_whatever_its_encoding() -> None:
    code = f"from {export.__module__} import export; export([{{'x': '\\u00e9\\udcff'}}], 'csv', None)"
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=True)
    assert done.stdout.split() == [b"x", "\u00e9".encode() + rb"\udcff"]


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "trials.json"
    path.write_text("before")
    with pytest.raises(TypeError):
        export([{"x": object()}], "json", path)
    assert [p.read_text() for p in tmp_path.iterdir()] == ["before"]
