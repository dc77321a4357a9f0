"""How figures and foreign texts are written for people. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

# Of a parameter and its value together.
_MOST_CHARS = 80
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86400


def duration_text(seconds: float) -> str:
    """Return a length of time with two units at most: 0.42 s, 12 s, 3 min 20 s, 1 h 59 min, 2 d 3 h."""
    if seconds < 10:
        return f"{max(seconds, 0.0):.2g} s"
    whole = round(seconds)
    if whole < _MINUTE_S:
        return f"{whole} s"
    if whole < _HOUR_S:
        return _two(whole, _MINUTE_S, "min", 1, "s")
    if whole < _DAY_S:
        return _two(whole, _HOUR_S, "h", _MINUTE_S, "min")
    return _two(whole, _DAY_S, "d", _HOUR_S, "h")


def _two(seconds: int, large_s: int, large: str, small_s: int, small: str) -> str:
    count, rest = divmod(seconds, large_s)
    return f"{count} {large}" + (f" {rest // small_s} {small}" if rest // small_s else "")


def shown_value(name: str, value: object) -> str:
    """Return `name=value` as it is shown beside others: of a value that is a whole text, the beginning."""
    text = one_line(f"{name}={value}")
    return text if len(text) <= _MOST_CHARS else f"{text[: _MOST_CHARS - 1]}…"


def shown_values(values: Mapping[str, object], most_chars: int | None = None) -> str:
    """Return parameters as `lr=0.1 model=cnn`; the last ones are left out (`…`) where they would be too long."""
    shown = [shown_value(name, value) for name, value in values.items()]
    count = len(shown)
    while most_chars is not None and count > 1 and len(" ".join(shown[:count])) > most_chars:
        count -= 1
    return " ".join([*shown[:count], *(["…"] if count < len(shown) else [])])


def shown_overrides(overrides: Iterable[str]) -> str:
    """Return overrides as they are shown; to be used, they are printed whole."""
    return " ".join(shown_value(*override.split("=", 1)) if "=" in override else override for override in overrides)


def one_line(text: str) -> str:
    """Return a text that came from a run as one line that does nothing to a terminal."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "\N{REPLACEMENT CHARACTER}" for c in text)
