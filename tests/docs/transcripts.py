"""Whether a page shows what a run prints: the same lines, but for times, ids and numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping

_DATE = re.compile(r"\[\d{4}-\d\d-\d\d (?=\d\d:\d\d:\d\d,\d{3}\])")
_TIME = re.compile(r"\[\d\d:\d\d:\d\d,\d{3}\]")
_SWEEP_ID = re.compile(r"(?<=local/train/)(sweeps/)?[a-z0-9]{8}\b")
_DURATION = re.compile(r"\b\d+(?:\.\d+)? (?:s|min|h|d)(?: \d+ (?:s|min|h))?\b")
_NUMBER = re.compile(r"\d+(?:[._]\d+)*(?:e-?\d+)?")


def as_shown(printed: str, places: Mapping[str, str]) -> str:
    """Return what was printed as a page shows it: without dates. places: what to say for names of this machine."""
    for here, there in places.items():
        printed = re.sub(rf"\b{re.escape(here)}\b" if here[0].isalnum() else re.escape(here), there, printed)
    return _DATE.sub("[", printed)


def shape(line: str) -> str:
    """Return a line without what differs from one run to the next."""
    line = _DURATION.sub("DURATION", _SWEEP_ID.sub(r"\g<1>ID", _TIME.sub("[TIME]", line)))
    return " ".join(_NUMBER.sub("#", line).split())


def lines_missing(shown: str, printed: str) -> list[str]:
    """Return the shown lines that no printed one has the shape of. Their order isn't looked at: it differs, too.

    `…` in a shown line stands for anything.
    """
    shapes = [shape(line) for line in printed.splitlines()]
    missing = []
    for line in (line for line in shown.splitlines() if line.strip("… ")):
        pattern = re.compile(".*".join(re.escape(part) for part in shape(line).split("…")))
        if not any(map(pattern.fullmatch, shapes)):
            missing.append(line)
    return missing
