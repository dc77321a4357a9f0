"""Sweeps given trial by trial, end to end: from a file, from the command line, from the config."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tests.integration.sweeper.conftest import Project, Sweep
from tests.integration.sweeper.test_command import answer
from tests.integration.sweeper.test_command import command as run_command
from tests.waiting import wait_for

FILE = """
# x is no good at first
x=3 behave=raise times=1
x=1 model=wide

+extra='[1, 2]' lr=1e-3 "y='a, b'"
"""
LINES = [
    ["x=3", "behave=raise", "times=1"],
    ["x=1", "model=wide"],
    ["+extra=[1, 2]", "lr=1e-3", "y='a, b'"],
]


def hydra_file(sweep: Sweep, number: int, name: str) -> Any:
    return yaml.safe_load((sweep.directory / f"t{number}" / ".hydra" / name).read_text())


def run_of(project: Project, sweep: Sweep, number: int) -> dict[str, Any]:
    return next(run for run in project.runs() if run["id"] == sweep.trials[number]["run_id"])


def test_a_file_of_trials_runs_its_lines_and_records_them_as_any_sweep_s(project: Project) -> None:
    (project.directory / "trials.txt").write_text(FILE)
    command = ("hydra.sweeper.trials=trials.txt", "only=null", "hydra.sweep.subdir=t${hydra.job.num}")
    sweep = project.sweep(*command, "hydra.sweeper.max_retries=0", "hydra.sweeper.max_failure_rate=1.0")
    assert sweep.results["trials"]["failed"] == 1
    run_command(project, "retry", str(sweep.directory))
    assert [hydra_file(sweep, n, "overrides.yaml") for n in range(3)] == [[*line, "only=null"] for line in LINES]
    by_hand = yaml.safe_load(project.run(*LINES[2], "only=null", "--cfg", "job").stdout)
    assert hydra_file(sweep, 2, "config.yaml") == by_hand

    results = sweep.results
    assert results["trials"] == {"finished": 3, "failed": 0, "stopped": 0, "running": 0, "queued": 0}
    assert (results["best_value"], results["best_overrides"]) == (0.25, [*LINES[2], "only=null"])
    assert results["best_params"] == {"extra": [1, 2], "lr": 0.001, "y": "a, b"}
    assert [(row["x"], row["model"], row["lr"], row["attempts"]) for row in sweep.trials] == [
        ("3", "", "", "2"),
        ("1", "wide", "", "1"),
        ("", "", "1e-3", "1"),
    ]
    assert answer(project, "status", str(sweep.directory))["best_overrides"] == results["best_overrides"]
    assert answer(project, "status", results["sweep_path"])["best_overrides"] == [
        "extra=[1, 2]",
        "lr=1e-3",
        "y='a, b'",
    ]

    run = run_of(project, sweep, 1)
    assert run["name"] == "1: x=1,model=wide"
    assert run["config"]["trial_overrides"] == "x=1 model=wide"
    assert (run["config"]["x"], run["config"]["model"]) == (1, {"name": "wide", "offset": 0.5})


def test_a_list_in_the_config_and_another_search_on_the_command_line_are_multiplied(project: Project) -> None:
    config = project.directory / "conf" / "config.yaml"
    trials = ["x=1 y=${model.name}", ["x=2", "lr=0.5"]]
    config.write_text(config.read_text() + yaml.dump({"hydra": {"sweeper": {"trials": trials}}}))
    sweep = project.sweep(
        "hydra.sweeper.params={n: '3,4'}", "model=wide", "hydra.sweep.subdir='${hydra.job.override_dirname}'"
    )
    assert sorted(sweep.overrides()) == [
        [*line, f"n={n}", "model=wide"] for line in (["x=1", "y=${model.name}"], ["x=2", "lr=0.5"]) for n in (3, 4)
    ]
    assert {path.parent.name for path in sweep.directory.glob("*/.hydra")} == {
        *(f"model=wide,n={n},x=1,y=wide" for n in (3, 4)),
        *(f"lr=0.5,model=wide,n={n},x=2" for n in (3, 4)),
    }
    # An interpolation is the trial's.
    assert {run["config"]["y"] for run in project.runs() if run["config"]["x"] == 1} == {"wide"}
    # Nothing is quadratic in the number of trials.
    files = sweep.directory.glob("*/.hydra/hydra.yaml")
    assert {yaml.safe_load(path.read_text())["hydra"]["sweeper"]["trials"] for path in files} == {None}


def test_a_list_on_the_command_line_goes_on_by_its_own_command(project: Project) -> None:
    command = ("hydra.sweeper.trials=['x=1 model=wide','x=2','x=3']", "lr=0.5")
    first = project.sweep(*command, "hydra.sweeper.trials_per_agent=1")
    sweep_id = f"hydra.sweeper.sweep_id={first.results['sweep_id']}"
    refused = project.sweep(sweep_id, "x=7", check=False)
    assert refused.process.returncode == 1
    assert "the sweep's own trials set it" in refused.output
    second = project.sweep(*command, sweep_id)
    assert first.overrides() == [["x=1", "model=wide", "lr=0.5"]]
    assert second.overrides() == [["x=2", "lr=0.5"], ["x=3", "lr=0.5"]]


def test_a_detached_sweep_needs_its_file_no_more(project: Project) -> None:
    path = project.directory / "trials.txt"
    path.write_text("x=1\nx=2 model=wide\n")
    sweep = project.sweep(
        "hydra.sweeper.trials=trials.txt", "hydra/launcher=submitit_local", "hydra.sweeper.wait=false"
    )
    path.unlink()
    wait_for(lambda: answer(project, "status", str(sweep.directory))["trials"]["finished"] == 2, "both trials end")
    assert sorted(sweep.overrides()) == [["x=1"], ["x=2", "model=wide"]]


def test_a_list_that_cannot_run_is_refused_before_anything_exists(project: Project) -> None:
    path = project.directory / "trials.txt"
    path.write_text("x=1\nx=2,3\n")
    for words in ("'x=2,3': line 2 of trials.txt sweeps", "'x=2 model=huge' of hydra.sweeper.trials"):
        refused = project.sweep("hydra.sweeper.trials=trials.txt", check=False)
        assert refused.process.returncode == 1
        assert words in refused.output
        assert not refused.directory.exists()
        path.write_text("x=1\nx=2 model=huge\n")
    assert not Path(project.directory / ".wandb_sweep_server").exists()


def test_mappings_can_be_set_on_the_command_line(project: Project) -> None:
    shown = project.run(
        "hydra/sweeper=wandb",
        "hydra.sweeper.params={x: '1,2', lr: {min: 0, max: 1}}",
        "hydra.sweeper.early_terminate={type: hyperband, min_iter: 3}",
        "--cfg", "hydra", "-p", "hydra.sweeper",
    ).stdout  # fmt: skip
    assert yaml.safe_load(shown)["params"] == {"x": "1,2", "lr": {"min": 0, "max": 1}}
    assert yaml.safe_load(shown)["early_terminate"] == {"type": "hyperband", "min_iter": 3}
    added = project.run(
        "hydra/sweeper=wandb", "+hydra.sweeper.params.x='1,2'", "--cfg", "hydra", "-p", "hydra.sweeper.params"
    ).stdout
    assert yaml.safe_load(added) == {"x": "1,2"}
