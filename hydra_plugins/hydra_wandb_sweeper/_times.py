"""Times as servers write them. Pure."""

from __future__ import annotations

import re
from datetime import datetime, timezone

_TIME = re.compile(r"(?P<whole>\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(?P<fraction>\.\d+)?(?P<zone>Z|[+-]\d\d:\d\d)?")


def epoch_s(text: str | None) -> float | None:
    """Return an ISO 8601 time in seconds since the epoch, None if it can't be read. UTC unless it names a zone."""
    # datetime.fromisoformat of Python 3.10 reads neither Z nor fractions of other than 3 or 6 digits.
    match = _TIME.fullmatch(text or "")
    if match is None:
        return None
    zone = (match["zone"] or "Z").replace("Z", "+00:00")
    try:
        whole_s = datetime.fromisoformat(match["whole"] + zone).astimezone(timezone.utc).timestamp()
    except ValueError:  # February 30
        return None
    return whole_s + float(match["fraction"] or 0)
