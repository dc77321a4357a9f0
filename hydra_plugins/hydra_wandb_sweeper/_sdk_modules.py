"""Which modules W&B's SDK imports for a run, as this user's earlier sweeps have found out."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from ._files import write_whole

log = logging.getLogger(__name__)


def place_of_modules() -> Path:
    """Return where it is noted for the SDK's version in this environment of Python."""
    import platformdirs

    environment = hashlib.sha256(os.fsencode(f"{sys.prefix}\n{sys.version}")).hexdigest()[:16]
    folder = platformdirs.user_cache_path("hydra-wandb-sweeper", appauthor=False)
    return folder / f"wandb-{version('wandb')}-{environment}.json"


def read_modules(place: Path) -> list[str] | None:
    """Return the modules' names, None if nobody has noted them."""
    try:
        names = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else None


def write_modules(place: Path, names: Sequence[str]) -> None:
    """Note them; where that can't be done, the next sweep finds them out again."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        write_whole(place, list(names))
    except OSError as error:
        log.debug("%s can't be written: %s", place, error)
