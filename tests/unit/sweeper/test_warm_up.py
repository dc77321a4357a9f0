"""What an agent does before it forks its trials."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import pytest

from hydra_plugins.hydra_wandb_sweeper._ledger import Trial
from hydra_plugins.hydra_wandb_sweeper._template import Slot, Template
from hydra_plugins.hydra_wandb_sweeper._warm_up import prepare_trial, sample_args
from tests.unit.sweeper.test_ledger import RECORD

PARAMETERS = {
    "lr": {"min": 0.1, "max": 1.0},
    "model": {"values": ["small", "wide"]},
    "n": {"value": 3},
    "spread": {"distribution": "normal", "mu": 1.5, "sigma": 2},
    "none": {"value": None},
    "inner": {"parameters": {"x": {"values": [1, 2]}}},
}


def test_a_sample_has_a_value_for_each_parameter() -> None:
    assert sample_args(PARAMETERS) == {
        "lr": 0.1,
        "model": "small",
        "n": 3,
        "spread": 1.5,
        "none": None,
        "inner": {"x": 1},
    }


def test_what_a_trial_shares_is_composed_for_its_own_overrides() -> None:
    context: Any = Mock()
    context.composer.prepare.return_value = None
    sweep = replace(RECORD, parameters=PARAMETERS, template=Template((Slot("model", "model"), "fixed=1")))
    prepare_trial(context, sweep, Trial(0, 0, "run", {"model": "wide"}))
    context.composer.prepare.assert_called_once_with(["model=wide", "fixed=1"])


@pytest.mark.parametrize("args", [{}, {"other": 1}], ids=["nothing", "another"])
def test_a_sweep_that_was_edited_is_left_to_its_trials_to_report(args: dict[str, Any]) -> None:
    context: Any = Mock()
    prepare_trial(context, replace(RECORD, template=Template((Slot("lr", "lr"),))), Trial(0, 0, "run", args))
    context.composer.prepare.assert_not_called()
