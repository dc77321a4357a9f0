"""What is said when a sweep has ended."""

from __future__ import annotations

import json
import logging
import math
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from hydra_plugins.hydra_wandb_sweeper._cli import main
from hydra_plugins.hydra_wandb_sweeper._ledger import Ledger
from hydra_plugins.hydra_wandb_sweeper._report import BestRow, best_rows, best_table, report, tell_rerun, time_text
from hydra_plugins.hydra_wandb_sweeper._rerun import StartCommand
from hydra_plugins.hydra_wandb_sweeper._results import collect
from hydra_plugins.hydra_wandb_sweeper._timesheet import TimeSpent
from tests.unit.sweeper.test_ledger import RECORD
from tests.unit.sweeper.test_progress_view import Story

SWEEP = Path("/sweep")


def told(story: Story, caplog: pytest.LogCaptureFixture, **details: object) -> list[str]:
    with caplog.at_level(logging.INFO):
        report(collect(story.record, story.history, SWEEP), story.record, story.history, SWEEP, **details)  # type: ignore[arg-type]
    return caplog.messages


def test_the_end_of_a_sweep_in_full(caplog: pytest.LogCaptureFixture) -> None:
    story = Story().agent(0).at(1010.0).runs(0, 0.5, output_dir="/sweep/0").runs(1, 0.25, output_dir="/elsewhere/1")
    story.runs(2, state="failed", error_line="boom").at(1040.0).leaves(0)
    assert told(story, caplog) == [
        "Sweep me/proj/ab12 ended: 2 finished, 1 failed, 7 not begun.",
        "Best loss: 0.25 (fixed=1 lr=0.1 batch=3 opt.m=1)",
        "Its directory: /elsewhere/1",
        "The best trials:\n"
        "    trial  loss  time  directory     parameters\n"
        "        1  0.25  10 s  /elsewhere/1  lr=0.1 opt.m=1\n"
        "        0   0.5  10 s  0             lr=0.0 opt.m=1",
        "1 trial(s) failed; the last:\n    trial 2: boom",
        "To run them again: hydra-sweep retry /sweep",
        "It took 40 s; agents worked for 40 s in all, 75% of that in trials.",
        "Results: /sweep/optimization_results.yaml, /sweep/trials.csv",
        f"Sweep directory: /sweep, page: {RECORD.url}",
    ]


def test_very_long_values_are_cut_where_they_are_shown_and_whole_in_what_is_used(
    caplog: pytest.LogCaptureFixture,
) -> None:
    story = Story().agent(0)
    long = "word " * 600
    story.claims(0, 0, long).ends(0, 0.5)
    messages = told(story, caplog)
    best = next(message for message in messages if message.startswith("Best loss"))
    table = next(message for message in messages if message.startswith("The best trials"))
    assert len(best) < 200
    assert "lr=0.0 batch=3 " in best
    assert max(map(len, table.splitlines())) < 150
    assert "…" in best
    assert "…" in table
    assert len(story.view().best.parameters) < 100  # type: ignore[union-attr]
    overrides = collect(story.record, story.history, SWEEP).summary["best_overrides"]
    assert any(long.strip() in override for override in overrides)


def test_the_command_that_runs_the_best_again_is_told_whole(caplog: pytest.LogCaptureFixture) -> None:
    command = f"python train.py note='{'word ' * 600}'"
    with caplog.at_level(logging.INFO):
        tell_rerun(command)
        tell_rerun(None)
    assert caplog.messages == [f"To run the best configuration again: {command}"]


def test_where_trials_have_no_log_no_log_is_named(caplog: pytest.LogCaptureFixture) -> None:
    messages = told(Story().agent(0).runs(0, state="failed", output_dir="/sweep/0"), caplog)
    assert not any("printed" in message for message in messages)


def test_a_sweep_without_values_says_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    messages = told(Story().agent(0).runs(0), caplog)
    assert (
        "There is no best trial: none has a metric 'loss'; return it from the task, log it, or set "
        "hydra.sweeper.metric.name (there is none)."
    ) in messages
    assert not any(message.startswith("Best") for message in messages)


def test_values_that_are_no_numbers_are_never_the_best(caplog: pytest.LogCaptureFixture) -> None:
    story = Story(goal="maximize").agent(0)
    for trial, value in enumerate((math.inf, math.nan, -math.inf)):
        story.runs(trial, value)
    assert "There is no best trial: 'loss' was NaN or infinite in all 3 finished trial(s) that have it." in told(
        story, caplog
    )
    story.runs(3, 0.5)
    assert [row.trial for row in best_rows(story.record, story.history, SWEEP)] == [3]


def test_the_failures_at_the_end_have_the_places_of_their_logs(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    (tmp_path / "trial.log").touch()
    story = Story().agent(0)
    for trial in range(5):
        where = {"output_dir": str(tmp_path)} if trial == 4 else {}
        story.runs(trial, state="failed", error_line="boom", **where)  # type: ignore[arg-type]
    assert (
        "5 trial(s) failed; the last:\n    trial 2: boom\n    trial 3: boom\n"
        f"    trial 4: boom ({tmp_path}/trial.log)"
    ) in told(story, caplog)


def test_an_interrupted_sweep_is_told_as_such(caplog: pytest.LogCaptureFixture) -> None:
    assert told(Story(), caplog, is_interrupted=True)[0] == "Sweep me/proj/ab12 was interrupted: 10 not begun."


def test_the_five_best_are_shown_in_order() -> None:
    story = Story(goal="maximize")
    for trial in range(9):
        story.runs(trial, float(trial))
    rows = best_rows(story.record, story.history, SWEEP)
    assert [(row.trial, row.value) for row in rows] == [(8, 8.0), (7, 7.0), (6, 6.0), (5, 5.0), (4, 4.0)]


def test_the_table_s_columns_are_as_wide_as_what_is_in_them() -> None:
    rows = [BestRow(3, 0.0123456789, 4000.0, "lr=1", "3"), BestRow(12, 123456.0, None, "lr=0.1 model=small", "a/12")]
    assert best_table("loss", rows) == [
        "trial       loss       time  directory  parameters",
        "    3  0.0123457  1 h 6 min  3          lr=1",
        "   12     123456             a/12       lr=0.1 model=small",
    ]


@pytest.mark.parametrize(
    ("spent", "text"),
    [
        (TimeSpent(200.0, 0.0, 0.0), "It took 3 min 20 s."),
        (
            TimeSpent(200.0, 300.0, 400.0),
            "It took 3 min 20 s; agents worked for 6 min 40 s in all, 75% of that in trials.",
        ),
    ],
)
def test_where_the_time_went(spent: TimeSpent, text: str) -> None:
    assert time_text(spent) == text


# --- hydra-sweep best ---


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Of a sweep of four trials."""
    record = replace(RECORD, start=StartCommand(("python", "train.py"), ("--config-name", "c")))
    Ledger.create(tmp_path, record, "supervisor")
    ledger = Ledger(tmp_path, "agent-0")
    for n, value in enumerate([0.5, None, 0.25, 0.75]):
        trial = ledger.number_trial(f"r{n}", {"lr": 0.1 * n, "batch": 3, "opt": {"m": "a b"}})
        ledger.begin(trial)
        ledger.record(
            "ended", trial, state="finished", metrics={} if value is None else {"loss": value}, error=None,
            error_line=None, output_dir=f"{tmp_path}/{n}", duration_s=1.5, final=True,
        )  # fmt: skip
    return tmp_path


def test_how_the_app_was_started_survives_the_disk(directory: Path) -> None:
    assert Ledger.open(directory, "").sweep().start == StartCommand(("python", "train.py"), ("--config-name", "c"))


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        ([], ["fixed=1 lr=0.2 batch=3 \"opt.m='a b'\""]),
        (["--top", "2"], ["fixed=1 lr=0.2 batch=3 \"opt.m='a b'\"", "fixed=1 lr=0.0 batch=3 \"opt.m='a b'\""]),
    ],
)
def test_the_best_configurations_are_lines_for_the_shell(
    directory: Path, options: list[str], lines: list[str]
) -> None:
    done = CliRunner().invoke(main, ["best", str(directory), *options])
    assert (done.exit_code, done.output.splitlines()) == (0, lines)


def test_for_programs_they_are_json(directory: Path) -> None:
    done = CliRunner().invoke(main, ["best", str(directory), "--top", "9", "--json"])
    best = json.loads(done.output)
    assert [trial["trial"] for trial in best] == [2, 0, 3]
    assert best[0] == {
        "trial": 2,
        "run_id": "r2",
        "value": 0.25,
        "duration_s": 1.5,
        "directory": f"{directory}/2",
        "overrides": ["fixed=1", "lr=0.2", "batch=3", "opt.m='a b'"],
    }


def test_where_nothing_has_a_value_it_says_so(tmp_path: Path) -> None:
    Ledger.create(tmp_path, RECORD, "supervisor")
    done = CliRunner().invoke(main, ["best", str(tmp_path)])
    assert done.exit_code == 1
    assert "has no best trial: none has finished." in done.output
