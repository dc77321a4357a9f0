"""Scalars: what is JSON or a large integer to W&B's SDK."""

from __future__ import annotations

from typing import Any

from ariadne import ScalarType

_int64 = ScalarType("Int64")


_json_string = ScalarType("JSONString")


@_json_string.value_parser
def _text_of_json(value: Any) -> str:
    # What it holds is read where it is used.
    if not isinstance(value, str):
        raise ValueError("It must be a text that holds JSON.")
    return value


@_int64.value_parser
def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not -(2**63) <= value < 2**63:
        raise ValueError("It must be an integer of at most 64 bits.")
    return value


BINDABLES = (_json_string, _int64)
