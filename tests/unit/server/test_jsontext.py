"""JSON between the SDK, which writes NaN, and everybody else, who cannot read it."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wandb_sweep_server import jsontext

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def refuse(token: str) -> None:
    raise AssertionError(f"{token} is not JSON")


@given(JSON)
def test_what_is_written_is_strict_json_and_lost_are_only_the_non_finite_numbers(value: Any) -> None:
    assert json.loads(jsontext.dumps(value), parse_constant=refuse) == jsontext.finite(value)


@given(JSON)
def test_what_the_sdk_writes_can_be_read_and_written_again(value: Any) -> None:
    read = jsontext.loads(json.dumps(value))
    assert jsontext.dumps(read) == jsontext.dumps(value)


def test_bare_tokens_are_floats_and_become_the_texts_of_wandb() -> None:
    value = jsontext.loads('{"a": NaN, "b": [Infinity, {"c": -Infinity}], "d": 1}')
    assert math.isnan(value["a"])
    assert jsontext.dumps(value) == '{"a":"NaN","b":["Infinity",{"c":"-Infinity"}],"d":1}'


@pytest.mark.parametrize(
    "text",
    [
        b'"\\ud800 \\udfff"',
        '"\\ud800 \\udfff"',
        '"\ud800 \udfff"',
        b'{"\\uDFFF": ["\\udcff"]}',
        '"\\ud83d\\ude00 \\ud800"',
    ],
)
def test_half_a_surrogate_pair_becomes_something_that_utf8_and_sqlite_can_hold(text: str | bytes) -> None:
    value = jsontext.loads(text)
    assert "\ufffd" in json.dumps(value, ensure_ascii=False).encode().decode()


def test_whole_surrogate_pairs_are_characters() -> None:
    assert jsontext.loads(b'"\\ud83d\\ude00 \\u00e9"') == "😀 é"


@pytest.mark.parametrize(
    "text",
    ["", "{", "[1,]", "nan", "'a'", b"\xff\xfe", b'"\xed\xa0\x80"', "[" * 100_000, '{"a":' * 100_000],
    ids=lambda text: repr(text)[:12],
)
def test_what_is_no_json_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError):
        jsontext.loads(text)


def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    assert jsontext.loads(b"\xef\xbb\xbf[1]") == [1]
