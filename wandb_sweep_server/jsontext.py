"""JSON as the SDK writes it (bare NaN and Infinity) and as everyone else reads it."""

from __future__ import annotations

import json
import math
import re
from typing import Any

# Half of a character beyond U+FFFF, escaped or raw: Python reads one alone, neither SQLite nor UTF-8 can hold it.
_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def loads(text: str | bytes) -> Any:
    """Parse JSON; the bare tokens NaN, Infinity and -Infinity are read as floats.

    Halves of surrogate pairs, which consoles and file names may bring along, become U+FFFD.

    Raises:
        ValueError: It is no JSON, or nested too deeply.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8-sig")
    try:
        value = json.loads(text)
        is_whole = not _ESCAPED_SURROGATE.search(text) and not _SURROGATE.search(text)
        return value if is_whole else _whole(value)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _whole(value: Any) -> Any:
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, dict):
        return {_whole(key): _whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return value


def value_at(row: dict[str, Any], name: str, default: Any = None) -> Any:
    """The value of a name such as `val.loss`, which may be one key or the way to a nested one."""
    if name in row:
        return row[name]
    value: Any = row
    for part in name.split("."):
        if not isinstance(value, dict) or part not in value:
            return default
        value = value[part]
    return value


def finite(value: Any) -> Any:
    """Replace non-finite floats by the strings "NaN", "Infinity", "-Infinity", as W&B stores them."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [finite(item) for item in value]
    return value


def dumps(value: Any) -> str:
    """Write strict JSON, which SQLite and the SDK's Go parts can read."""
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":"))
    except ValueError:
        return json.dumps(finite(value), allow_nan=False, separators=(",", ":"))
