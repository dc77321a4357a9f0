"""JSON as the SDK writes it (bare NaN and Infinity) and as everyone else reads it."""

from __future__ import annotations

import json
import math
from typing import Any


def loads(text: str | bytes) -> Any:
    """Parse JSON; the bare tokens NaN, Infinity and -Infinity are read as floats."""
    return json.loads(text)


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
