"""The command line, and what of it a directory's next server goes by when it is told nothing else."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from .durable import write_whole

_FILE = "settings.json"


class SettingsError(RuntimeError):
    """The directory's settings can't be read."""


@dataclass(frozen=True)
class Settings:
    """How the runs of a directory are treated; kept there, since a server may be started again by anyone.

    Attributes:
        crash_timeout_s: A run silent for so long has crashed.
        start_timeout_s: A trial that was handed out and hasn't begun for so long is offered again.
        max_retries: How often a crashed run is offered again.
        open_sweep_timeout_days: An open sweep without news for so long keeps no server up.
    """

    crash_timeout_s: float = 300.0
    start_timeout_s: float = 60.0
    max_retries: int = 3
    open_sweep_timeout_days: float = 7.0


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options; those of Settings are None unless given. Ends the program if they are wrong."""
    parser = argparse.ArgumentParser(prog="python -m wandb_sweep_server", description="Serve a directory's sweeps.")
    parser.add_argument("--dir", type=Path, required=True, help="where the data is; one server per directory")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (0.0.0.0: all)")
    parser.add_argument("--port", type=int, default=0, help="0: the last one of this directory, else any free one")
    parser.add_argument(
        "--idle-timeout-s", type=_number, default=3600.0, help="end after so long without requests (0: never)"
    )
    # See attendance: for starters only.
    parser.add_argument("--attended", action="store_true", help=argparse.SUPPRESS)
    kept = parser.add_argument_group("kept in the directory for its next server")
    kept.add_argument("--crash-timeout-s", type=_positive, help="a run silent for so long has crashed (300)")
    kept.add_argument(
        "--start-timeout-s", type=_positive, help="a trial that hasn't begun for so long is offered again (60)"
    )
    kept.add_argument("--max-retries", type=_count, help="how often a crashed run is offered again (3)")
    kept.add_argument(
        "--open-sweep-timeout-days", type=_number, help="an open sweep without news for so long is idle too (7)"
    )
    return parser.parse_args(arguments)


def keep_settings(directory: Path, given: argparse.Namespace) -> Settings:
    """Return the settings of a directory: what is given now, else what was given last, else the default.

    Raises:
        SettingsError: What was kept can't be read.
        OSError: It can't be kept.
    """
    path = directory / _FILE
    names = [field.name for field in fields(Settings)]
    now = {name: getattr(given, name) for name in names if getattr(given, name) is not None}
    settings = Settings(**{**_kept(path, names), **now})
    if now:
        write_whole(path, json.dumps(asdict(settings), indent=2).encode())
    return settings


def _kept(path: Path, names: list[str]) -> dict[str, Any]:
    try:
        kept = dict(json.loads(path.read_bytes()).items())
        return {name: type(getattr(Settings, name))(_number(str(kept[name]))) for name in names if name in kept}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError, argparse.ArgumentTypeError) as error:
        raise SettingsError(f"{path}: {error}. Correct it, or remove it to go by the defaults.") from error


def _number(text: str) -> float:
    with contextlib.suppress(ValueError):
        if math.isfinite(value := float(text)) and value >= 0:
            return value
    raise argparse.ArgumentTypeError(f"{text} must be a number of at least 0")


def _positive(text: str) -> float:
    if (value := _number(text)) == 0:
        raise argparse.ArgumentTypeError(f"{text} must be a number above 0")
    return value


def _count(text: str) -> int:
    with contextlib.suppress(ValueError):
        if (value := int(text)) >= 0:
            return value
    raise argparse.ArgumentTypeError(f"{text} must be an integer of at least 0")
