"""What of a task's result or error is recorded."""

from __future__ import annotations

import logging
import sys
from decimal import Decimal
from typing import Any

import pytest
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf

from hydra_plugins.hydra_wandb_sweeper._errors import SweepError
from hydra_plugins.hydra_wandb_sweeper._outcome import FAILED, PREEMPTED, STOPPED, Outcome, TrialPreempted, as_metrics


@pytest.mark.parametrize(
    ("returned", "metrics"),
    [
        (None, {}),
        (0.5, {"loss": 0.5}),
        (3, {"loss": 3.0}),
        (True, {"loss": 1.0}),
        (Decimal("0.25"), {"loss": 0.25}),
        ({"loss": 0.5, "accuracy": 1}, {"loss": 0.5, "accuracy": 1.0}),
        (OmegaConf.create({"loss": 0.5}), {"loss": 0.5}),
    ],
    ids=repr,
)
def test_numbers_are_recorded(returned: object, metrics: dict[str, float], caplog: pytest.LogCaptureFixture) -> None:
    assert as_metrics(returned, "loss") == metrics
    assert not caplog.messages


@pytest.mark.parametrize("returned", ["text", b"1", "1.5", [1, 2], (0.5, {}), object], ids=repr)
def test_a_result_that_is_no_number_is_left_out_and_this_is_said(
    returned: object, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert as_metrics(returned, "loss") == {}
    assert caplog.messages == [f"The task returned {returned!r}, which is no number: it isn't recorded."]


def test_what_is_no_number_in_a_mapping_is_left_out_by_name(caplog: pytest.LogCaptureFixture) -> None:
    returned = {"loss": 0.5, "best checkpoint": "last.ckpt", "history": [1.0, 0.5], "note": None}
    with caplog.at_level(logging.WARNING):
        assert as_metrics(returned, "loss") == {"loss": 0.5}
    assert caplog.messages == [
        "The task returned no numbers as best checkpoint, history, note: they aren't recorded."
    ]


@pytest.mark.parametrize("value", [None, "0.5", [0.5]], ids=repr)
def test_a_metric_that_is_no_number_is_an_error(value: object) -> None:
    with pytest.raises(SweepError, match=r"returned .* as 'loss'; a task returns a number, a mapping of names"):
        as_metrics({"loss": value, "accuracy": 1}, "loss")


def task(_: Any) -> None:
    raise ValueError("no such optimizer")


def test_the_traceback_of_a_task_begins_with_the_task(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="no such") as raised:
        task(None)
    # Without this test's own frame.
    job = JobReturn(overrides=[], status=JobStatus.FAILED)
    job.return_value = raised.value.with_traceback(raised.tb.tb_next)
    outcome = Outcome()
    outcome.take(job, "loss")
    assert outcome.error is not None
    first, second, *_ = outcome.error.splitlines()
    assert first == "Traceback (most recent call last):"
    assert second.endswith("in task")
    assert outcome.error_line == "ValueError: no such optimizer"
    assert outcome.error in capsys.readouterr().err


def test_the_traceback_of_what_never_came_to_the_task_is_whole() -> None:
    with pytest.raises(SweepError) as raised:
        as_metrics({"loss": "0.5"}, "loss")
    outcome = Outcome()
    outcome.fail(raised.value)
    assert outcome.error is not None
    assert "in as_metrics" in outcome.error


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("", "ValueError: "),
        ("\n  two words\nmore", "ValueError: two words"),
        (
            "Error in call to target 'app.Net':\nTypeError('depth')\nfull_key: model",
            "ValueError: Error in call to target 'app.Net': TypeError('depth')",
        ),
        ("two \x1b[1;31mbold\x1b[0m words", "ValueError: two bold words"),
        ("nothing follows:", "ValueError: nothing follows:"),
    ],
    ids=["none", "several lines", "announced", "with style", "announced, missing"],
)
def test_an_error_in_a_line_has_what_its_first_line_announces(message: str, line: str) -> None:
    outcome = Outcome()
    outcome.fail(ValueError(message))
    assert outcome.error_line == line


@pytest.mark.parametrize(
    ("told", "state"),
    [
        (KeyboardInterrupt(), STOPPED),
        (TrialPreempted("the time limit is near"), PREEMPTED),
        (ValueError("lr"), FAILED),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else value,
)
def test_a_task_that_exits_because_it_was_told_to_end_has_not_failed(told: BaseException, state: str) -> None:
    with pytest.raises(SystemExit) as raised:
        end_as_lightning_does(told)
    outcome = Outcome()
    outcome.exited(raised.value)
    assert outcome.to_dict()["state"] == state


def end_as_lightning_does(told: BaseException) -> None:
    try:
        raise told
    except BaseException:  # noqa: BLE001 (what Lightning does with KeyboardInterrupt, for each)
        sys.exit(1)
