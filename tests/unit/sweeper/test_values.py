"""JSON values as Hydra override text, and which of them a server could confuse."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from hydra_plugins.hydra_wandb_sweeper._errors import SweepError
from hydra_plugins.hydra_wandb_sweeper._template import Form, Slot, Template
from hydra_plugins.hydra_wandb_sweeper._values import (
    are_distinguishable,
    canonical,
    is_json_scalar,
    parse,
    plain,
    render,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
JSON_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), TEXT),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.from_regex(r"[a-z][a-z0-9_]{0,5}", fullmatch=True), inner)
    ),
    max_leaves=5,
)
# Words that Hydra's grammar reads as something else than a string when they are keys.
RESERVED_KEYS = {"true", "false", "null", "nan", "inf"}


def same(a: Any, b: Any) -> bool:
    """Equal with equal types at any depth (1 is not 1.0)."""
    if type(a) is not type(b):
        return False
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    return bool(a == b)


def has_reserved_key(value: Any) -> bool:
    if isinstance(value, dict):
        return any(k in RESERVED_KEYS or has_reserved_key(v) for k, v in value.items())
    return isinstance(value, list) and any(map(has_reserved_key, value))


@given(JSON_VALUES.filter(lambda v: not has_reserved_key(v)))
def test_hydra_parses_rendered_text_to_the_same_value(value: Any) -> None:
    override = OverridesParser.create().parse_override(f"key={render(value)}")
    assert not override.is_sweep_override()
    assert same(override.value(), value)


@given(
    st.one_of(
        st.from_regex(r"-?[0-9]{1,4}(\.[0-9]{0,3})?([eE][+-]?[0-9]{1,3})?", fullmatch=True),
        st.from_regex(r"[A-Za-z_/.][A-Za-z0-9_/.+*%@-]{0,8}", fullmatch=True),
        st.sampled_from(
            ["true", "NULL", "nan", "-inf", "Inf", "-0", "1_000", "+1", "1.", ".5", "007", "[1,2]", "a b", "'1'", ""]
        ),
    )
)
def test_a_text_that_is_plain_to_see_means_what_hydra_s_parser_makes_of_it(text: str) -> None:
    value = plain(OverridesParser.create().parse_override(f"key={text}").value())
    assert same(parse(text), value) or (math.isnan(value) and math.isnan(parse(text)))


def test_rendered_special_floats_are_floats() -> None:
    assert math.isnan(OverridesParser.create().parse_override(f"x={render(math.nan)}").value())  # type: ignore[arg-type]


@given(JSON_VALUES)
def test_a_canonical_text_is_the_same_before_and_after_json(value: Any) -> None:
    assert canonical(json.loads(json.dumps(value))) == canonical(value)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2, 3], True),
        ([0.0, 0.5, 1.0], True),
        (["a", "b"], True),
        ([True, False], True),
        ([1, 1.0], False),
        ([1, True], False),
        ([0, False], False),
        ([1, "1"], False),
        ([1.0, "1"], False),
        (["1", "1.0"], False),
        ([True, "True"], False),
        ([True, "true"], False),
        ([1, "a", 2.5], True),
    ],
)
def test_confusable_values_are_told_from_distinguishable_ones(values: list[Any], expected: bool) -> None:
    assert are_distinguishable(values) is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, True),
        (2**53, True),
        (2**53 + 1, False),
        (0.5, True),
        (math.inf, False),
        (math.nan, False),
        (-0.0, False),
        ("x", True),
        (True, True),
        (None, False),
        ([1], False),
        ({"a": 1}, False),
    ],
)
def test_only_values_that_any_json_carries_travel_as_themselves(value: Any, expected: bool) -> None:
    assert is_json_scalar(value) is expected


SLOTS = st.builds(
    Slot, TEXT.filter(bool), TEXT.filter(bool), st.sampled_from(Form), st.dictionaries(TEXT, TEXT, max_size=2)
)


@given(st.lists(st.one_of(TEXT, SLOTS), max_size=4))
def test_a_template_survives_its_journey_without_a_dollar_sign(items: list[Any]) -> None:
    template = Template(tuple(items))
    text = template.to_json()
    assert "$" not in text
    assert text.isascii()
    assert Template.from_json(text) == template


def test_values_without_a_slot_become_overrides_of_their_key() -> None:
    template = Template(("fixed=1", Slot("lr", "lr")))
    assert template.overrides({"lr": 0.1, "added.on.page": "x"}) == ["fixed=1", "lr=0.1", "added.on.page=x"]


def test_a_trial_without_a_value_for_a_slot_is_refused_by_name() -> None:
    with pytest.raises(SweepError, match="handed out a trial without the parameter 'lr'"):
        Template((Slot("lr", "lr"),)).overrides({"other": 1})


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"version":1}', '{"version":1,"overrides":[3]}', "null"])
def test_a_broken_template_is_an_error_that_shows_it(text: str) -> None:
    with pytest.raises(SweepError, match="can't be read"):
        Template.from_json(text)


def test_a_template_of_another_version_says_which() -> None:
    with pytest.raises(SweepError, match=r"made by another version of hydra-wandb-sweeper \(template version 99"):
        Template.from_json('{"version":99,"overrides":[]}')
