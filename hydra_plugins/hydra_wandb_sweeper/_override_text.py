"""Reading many overrides: Hydra's parser takes a tenth of a millisecond and more for each, simple ones need none.

A list of 10^5 trials would otherwise be read for minutes. What is read here without Hydra is what its grammar reads
alike beyond doubt, held to that by a test; everything else, and every error, is Hydra's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException

_INT = re.compile(r"[+-]?(?:0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[+-]?(?:(?:0|[1-9][0-9]*)\.[0-9]+(?:[eE][+-]?[0-9]+)?|(?:0|[1-9][0-9]*)[eE][+-]?[0-9]+)")
# Words, paths and the like.
_TEXT = re.compile(r"[A-Za-z_/][A-Za-z0-9_/.+*%@-]*(?: +[A-Za-z0-9_/.+*%@-]+)*")
# Neither escapes nor interpolations, on which quoting and resolving depend.
_QUOTED = re.compile(r"'([^'\"\\$\x00-\x1f]*)'")
_RESERVED = {"true": True, "false": False}
_NO_TEXTS = frozenset({"null", "nan", "inf"})
# Python refuses to read longer ones.
_MOST_DIGITS = 300


@dataclass(frozen=True)
class ReadOverride:
    """An override as far as this project looks into it.

    key_element, key_or_group: as of Hydra's Override. text: as it was given. value: plain, see Override.value().
    """

    text: str
    key_element: str
    key_or_group: str
    value: Any
    is_deletion: bool
    is_sweep: bool
    is_hydra: bool


@dataclass(frozen=True)
class _Unknown:
    """No value: Hydra has to read it."""


_UNKNOWN = _Unknown()


def simple_value(text: str) -> Any:
    """Return what Hydra's grammar reads a value's text as if that is simple, else an _Unknown."""
    if _INT.fullmatch(text):
        return int(text) if len(text) < _MOST_DIGITS else _UNKNOWN
    if _FLOAT.fullmatch(text):
        return float(text)
    if _TEXT.fullmatch(text):
        lower = text.lower()
        return _UNKNOWN if lower in _NO_TEXTS else _RESERVED.get(lower, text)
    quoted = _QUOTED.fullmatch(text)
    return quoted[1] if quoted else _UNKNOWN


class OverrideReader:
    """Reads overrides; parser: for those that aren't simple, its errors are the reader's."""

    def __init__(self, parser: OverridesParser) -> None:
        self._parser = parser
        self._keys: dict[str, Override] = {}

    def read(self, text: str) -> ReadOverride:
        """Return what an override says. Errors: Hydra's OverrideParseException."""
        key, equals, value_text = text.partition("=")
        value = simple_value(value_text) if equals else _UNKNOWN
        known = None if value is _UNKNOWN else self._key(key)
        if known is not None:
            return _read(known, text, value)
        (override,) = self._parser.parse_overrides([text])
        return _read(override, text, override.value())

    def _key(self, key: str) -> Override | None:
        """Return some override of a key, None if it isn't one: the grammar reads keys and values by themselves."""
        if key not in self._keys:
            try:
                (self._keys[key],) = self._parser.parse_overrides([f"{key}=0"])
            except HydraException:
                return None
        return self._keys[key]


def _read(override: Override, text: str, value: Any) -> ReadOverride:
    return ReadOverride(
        text=text,
        key_element=override.get_key_element(),
        key_or_group=override.key_or_group,
        value=value,
        is_deletion=override.type is OverrideType.DEL,
        is_sweep=override.is_sweep_override(),
        is_hydra=override.is_hydra_override(),
    )
