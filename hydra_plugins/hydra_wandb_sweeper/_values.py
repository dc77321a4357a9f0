"""Values on their way between JSON (what a sweep server carries) and Hydra's override grammar.

Servers hand numbers around more loosely than Hydra reads them: JSON knows no difference between 1 and 1.0 once it
has passed through JavaScript or Go, and W&B's grid search compares and formats values so that 1, 1.0 and true are one
value. The functions here say which values survive that trip, and write a JSON value as override text.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Iterable
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString, Transformer
from hydra.errors import HydraException

# An unquoted word that Hydra's grammar can only read as a string: it starts like an identifier or a path, and is
# none of the reserved words below.
_PLAIN_WORD = re.compile(r"[A-Za-z_/][A-Za-z0-9_/.+*%@-]*")
_RESERVED = frozenset({"true", "false", "null", "nan", "inf"})

# A number in decimal whose text means the same to Hydra and to Python.
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,300})(?P<fraction>\.[0-9]+)?(?P<exponent>[eE][+-]?[0-9]+)?")

# JSON numbers are doubles for JavaScript and for Go's interface{}: larger integers lose digits.
_MAX_SAFE_INT = 2**53


def plain(value: object) -> Any:
    """Return a value as parsed by Hydra's override parser with QuotedString replaced by its text, at any depth."""
    if isinstance(value, QuotedString):
        return value.text
    if isinstance(value, list):
        return [plain(x) for x in value]
    if isinstance(value, dict):
        return {plain(k): plain(v) for k, v in value.items()}
    return value


def parse(text: str) -> Any:
    """Return the plain value of an override's text; the text itself if Hydra can't read it as one value."""
    # Hydra's parser takes 0.4 ms for each, which is most of what is done to a trial of a list of 10^5.
    if number := _NUMBER.fullmatch(text):
        return int(text) if number["fraction"] is None and number["exponent"] is None else float(text)
    if _is_plain_word(text):
        return text
    try:
        return plain(OverridesParser.create().parse_override(f"value={text}").value())
    except HydraException:
        return text


def render(value: object) -> str:
    """Return override text that Hydra parses to exactly `value` (type included).

    value: None, bool, int, float (nan and infinities too), str, or lists and dicts of these.
    Strings are quoted unless they are plain words. `${…}` stays an interpolation, as everywhere in Hydra.
    """
    if isinstance(value, str):
        return _render_str(value)
    if isinstance(value, list):
        return "[" + ",".join(render(x) for x in value) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{Transformer.str(k)}:{render(v)}" for k, v in value.items()) + "}"
    return Transformer.str(value)  # type: ignore[arg-type]


def _render_str(text: str) -> str:
    return text if _is_plain_word(text) else QuotedString(text, Quote.single).with_quotes()


def _is_plain_word(text: str) -> bool:
    return _PLAIN_WORD.fullmatch(text) is not None and text.lower() not in _RESERVED


def canonical(value: object) -> str:
    """Return a JSON text that is the same for a value before and after any server's JSON (1.0 and 1 are one)."""
    return json.dumps(_integral(value), sort_keys=True)


def _integral(value: object) -> object:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_integral(x) for x in value]
    if isinstance(value, dict):
        return {k: _integral(v) for k, v in value.items()}
    return value


def is_json_scalar(value: object) -> bool:
    """True for values that every server carries unharmed by themselves: finite numbers, booleans and strings."""
    if isinstance(value, bool | str):
        return True
    if isinstance(value, int):
        return abs(value) <= _MAX_SAFE_INT
    if isinstance(value, float):
        negative_zero = value == 0 and math.copysign(1, value) < 0
        return math.isfinite(value) and not negative_zero
    return False


def are_distinguishable(values: Iterable[object]) -> bool:
    """True if no two of these JSON scalars could be taken for one another by a server.

    Two are confusable if they are equal for Python (1, 1.0, True) or alike as text in Python's or JSON's spelling
    ("1" and 1, "True" and true).
    """
    seen: set[object] = set()
    for value in values:
        identities = _identities(value)
        if not seen.isdisjoint(identities):
            return False
        seen |= identities
    return True


def _identities(value: object) -> set[object]:
    text = str(value).lower()
    identities: set[object] = {("text", text)}
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        identities.add(("number", float(value)))  # type: ignore[arg-type]
    return identities
