"""The rule of early stopping: its configuration, its brackets, and where a history leads."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.server.early_stopping import VALUES, line
from wandb_sweep_server.early_stop import (
    Decision,
    Hyperband,
    Standing,
    follow,
    parse_early_terminate,
    retrace,
)
from wandb_sweep_server.errors import ClientError

METRIC = {"name": "loss", "goal": "minimize"}


def parse(metric: Any = METRIC, **section: Any) -> Hyperband:
    rule = parse_early_terminate({"metric": metric, "early_terminate": {"type": "hyperband", **section}})
    assert rule is not None
    return rule


@pytest.mark.parametrize(
    ("section", "brackets"),
    [
        # W&B's documentation: the brackets of these are [3, 9, 27, 81] and [9, 3].
        ({"min_iter": 3}, (3, 9, 27, 81)),
        ({"max_iter": 27, "s": 2}, (3, 9)),
        ({"min_iter": 1, "eta": 2}, (1, 2, 4, 8)),
        ({"min_iter": 3, "eta": 1.5}, (3, 4, 6, 10, 15)),
        ({"min_iter": 5, "eta": 10**9}, (5, 5 * 10**9)),
        ({"max_iter": 27, "s": 3}, (1, 3, 9)),
        ({"max_iter": 27, "s": 9}, (1, 3, 9)),
        ({"max_iter": 100, "s": 2, "eta": 4}, (6, 25)),
        ({"max_iter": 10, "s": 2, "eta": 1.2}, (6, 8)),
        ({"min_iter": 3, "max_iter": None, "s": None, "eta": None, "strict": None}, (3, 9, 27)),
        ({"min_iter": 4, "s": 2}, (4, 12, 36)),
    ],
)
def test_settings_give_brackets(section: dict[str, Any], brackets: tuple[int, ...]) -> None:
    found = parse(**section).brackets
    assert found[: len(brackets)] == brackets
    assert list(found) == sorted(set(found))
    if section.get("max_iter"):
        assert found == brackets


def test_an_eta_close_to_one_has_no_more_brackets_than_the_reference() -> None:
    assert parse(min_iter=1, eta=1.01).brackets == (1, 2)


def test_defaults_are_those_of_the_engine_not_of_the_documentation() -> None:
    assert parse(min_iter=3) == parse(min_iter=3, eta=3, strict=True)
    assert parse(min_iter=3).strict
    assert not parse({"name": "loss"}, min_iter=3).maximize


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("hyperband", "early_terminate = 'hyperband' must be a mapping, as {type: hyperband, min_iter: 3}"),
        ([], "early_terminate = [] must be a mapping"),
        ({}, "early_terminate.type = None does not exist; the only type is hyperband"),
        ({"type": "median"}, "early_terminate.type = 'median' does not exist"),
        ({"min_iter": 3, "brackets": 3}, "early_terminate.brackets does not exist; keys are eta, max_iter, min_iter"),
        ({}, "early_terminate needs either min_iter, or max_iter and s; it has none of them"),
        ({"s": 2}, "it has none of them"),
        ({"min_iter": 3, "max_iter": 27, "s": 2}, "it has both"),
        ({"max_iter": 27}, "early_terminate.max_iter needs s"),
        ({"min_iter": 0}, "early_terminate.min_iter = 0 must be an integer of at least 1"),
        ({"min_iter": True}, "early_terminate.min_iter = True must be an integer"),
        ({"min_iter": 2.5}, "early_terminate.min_iter = 2.5 must be an integer"),
        ({"min_iter": "3"}, "early_terminate.min_iter = '3' must be an integer"),
        ({"max_iter": 9, "s": 0}, "early_terminate.s = 0 must be an integer of at least 1"),
        ({"max_iter": 9, "s": 1.5}, "early_terminate.s = 1.5 must be an integer"),
        (
            {"max_iter": 2, "s": 1},
            "early_terminate.max_iter = 2 leaves no bracket: it must be at least eta",
        ),
        ({"min_iter": 3, "eta": 1}, "early_terminate.eta = 1 must be a number greater than 1"),
        ({"min_iter": 3, "eta": "2"}, "early_terminate.eta = '2' must be a number greater than 1"),
        ({"min_iter": 3, "eta": float("nan")}, "early_terminate.eta = nan must be a number greater than 1"),
        ({"min_iter": 3, "eta": True}, "early_terminate.eta = True must be a number"),
        ({"min_iter": 3, "strict": "yes"}, "early_terminate.strict = 'yes' must be true or false"),
    ],
)
def test_what_is_wrong_is_named_with_its_value_and_rule(section: Any, message: str) -> None:
    if isinstance(section, dict) and "early_terminate.type" not in message:
        section = {"type": "hyperband", **section}
    with pytest.raises(ClientError) as error:
        parse_early_terminate({"metric": METRIC, "early_terminate": section})
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (None, "metric = None: early_terminate needs metric.name"),
        ({"goal": "minimize"}, "early_terminate needs metric.name"),
        ({"name": 3}, "early_terminate needs metric.name"),
        ({"name": "loss", "goal": "best"}, "metric.goal = 'best' must be minimize or maximize"),
    ],
)
def test_there_must_be_a_metric(metric: Any, message: str) -> None:
    with pytest.raises(ClientError, match=message):
        parse(metric, min_iter=3)


def test_without_the_section_nothing_is_stopped() -> None:
    assert parse_early_terminate({"metric": METRIC}) is None
    assert parse_early_terminate({"metric": METRIC, "early_terminate": None}) is None


def test_a_line_that_is_no_finite_number_of_the_metric_does_not_count() -> None:
    lines = ['{"loss": NaN}', '{"loss": "2"}', '{"loss": true}', '{"other": 1}', "[1]", "no json", '{"loss": null}']
    lines += ['{"loss": Infinity}', json.dumps({"loss": 10**400}), '{"loss": 2}']
    assert retrace(parse(min_iter=1), lines).standing == Standing(None, 1, 1, 2.0)


@pytest.mark.parametrize("row", ['{"val.loss": 1.5}', '{"val": {"loss": 1.5}}', '{"val.loss": 1.5, "val": 3}'])
def test_a_nested_metric_is_found_by_its_dotted_name(row: str) -> None:
    assert retrace(parse({"name": "val.loss"}, min_iter=1), [row]).losses == {1: 1.5}


def test_a_step_back_takes_what_was_logged_since_then_back() -> None:
    rule = parse(min_iter=1, eta=2)
    lines = [line(v, step) for v, step in [(9, 0), (8, 1), (7, 2), (5, 1), (4, 2), (3, 3)]]
    assert retrace(rule, lines).losses == {1: 9, 2: 5, 4: 3}
    assert retrace(rule, [*lines, line(2, 0)]).losses == {1: 2}


@given(st.lists(VALUES, max_size=12), st.integers(0, 12), st.booleans(), st.booleans())
def test_lines_lead_to_the_same_place_whatever_they_are_cut_into(
    values: list[Any], cut: int, strict: bool, maximize: bool
) -> None:
    rule = parse({"name": "loss", "goal": "maximize" if maximize else "minimize"}, min_iter=2, eta=2, strict=strict)
    lines = [line(value, step) for step, value in enumerate(values)]
    whole, half = retrace(rule, lines), retrace(rule, lines[:cut])
    rest = follow(rule, half.standing, lines[cut:])
    assert rest is not None
    assert rest.standing == whole.standing
    assert {**half.losses, **rest.losses} == whole.losses


def test_a_decision_says_how_it_came_about() -> None:
    assert str(Decision(1, 3, "loss", 0.52, 0.31)) == "stopped early: bracket 3, loss 0.52 > 0.31"
    assert str(Decision(1, 9, "acc", 0.25, 0.5)) == "stopped early: bracket 9, acc 0.25 < 0.5"
