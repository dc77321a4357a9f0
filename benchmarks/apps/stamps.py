"""When each trial begins and ends, by the clock that all processes of a machine share."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def stamped() -> Iterator[None]:
    """Note the time before and after in the file that $STAMPS names."""
    _note("begin")
    yield
    _note("end")


def _note(event: str) -> None:
    with Path(os.environ["STAMPS"]).open("a", encoding="ascii") as file:
        file.write(f"{event} {time.monotonic()}\n")
