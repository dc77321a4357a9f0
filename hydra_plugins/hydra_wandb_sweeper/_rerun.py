"""How to run one configuration again: a command line to paste, of the program as the user started it. Pure."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hydra.types import RunMode

# Settings of a multirun; a single run has its own directory.
_OF_MULTIRUNS = ("hydra.sweeper", "hydra.launcher", "hydra.sweep.", "hydra.mode")
_CHOICES = ("hydra/sweeper=", "hydra/launcher=")


@dataclass(frozen=True)
class StartCommand:
    """How an app was started.

    program: the words before its own arguments, `python train.py`. flags: of Hydra's, those that say where its config
    is. hydra_overrides: of Hydra's own configuration, as far as they matter for a single run. choices: of sweeper and
    launcher, which a config with settings of theirs can't do without.
    """

    program: tuple[str, ...]
    flags: tuple[str, ...] = ()
    hydra_overrides: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()


def read_start(original: Sequence[str], argv: Sequence[str], hydra_overrides: Sequence[str]) -> StartCommand:
    """Return how this process was started.

    original: the interpreter's whole command line (sys.orig_argv). argv: the program and its arguments (sys.argv).
    hydra_overrides: those of Hydra's own configuration among them.
    """
    program, arguments = argv[0], list(argv[1:])
    of_program = len(original) - len(arguments)
    started = list(original[:of_program])
    # Another one may have started it in its own process, as IPython's %run in a notebook's kernel.
    is_own = list(original[of_program:]) == arguments and (
        started[-1:] == [program] or started[-2:-1] in (["-m"], ["-c"])
    )
    flags = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    flags.add_argument("--config-path", "-cp")
    flags.add_argument("--config-dir", "-cd")
    flags.add_argument("--config-name", "-cn")
    given, _ = flags.parse_known_args(arguments)
    own = [
        override for override in hydra_overrides if not override.lstrip("+~").startswith((*_OF_MULTIRUNS, *_CHOICES))
    ]
    names = ("config_path", "config_dir", "config_name")
    values = [(name.replace("_", "-"), getattr(given, name)) for name in names]
    return StartCommand(
        program=tuple(started) if is_own else (original[0], program),
        flags=tuple(word for name, value in values if value is not None for word in (f"--{name}", value)),
        hydra_overrides=tuple(own),
        choices=tuple(override for override in hydra_overrides if override.startswith(_CHOICES)),
    )


def rerun_command(
    start: StartCommand, overrides: Sequence[str], mode_of: Callable[[Sequence[str]], RunMode | None]
) -> str:
    """Return a command line for a POSIX shell that runs the configuration of these overrides, and no sweep.

    mode_of: how the app would run with some overrides and without `-m`, None if its config can't be composed so.
    """
    own = (*overrides, *start.hydra_overrides)
    mode = mode_of(own)
    if mode is None and start.choices:
        own = (*own, *start.choices)
        mode = mode_of(own)
    if mode is RunMode.MULTIRUN:  # its config says so
        own = (*own, "hydra.mode=RUN")
    return override_line((*start.program, *start.flags, *own))


def override_line(overrides: Sequence[str]) -> str:
    """Return overrides as a line for a POSIX shell, which is a line of hydra.sweeper.trials too."""
    return " ".join(map(_quoted, overrides))


def _quoted(word: str) -> str:
    """shlex.quote("y='a b'") is right as well, but nobody can read it."""
    if "'" in word and word.isprintable() and not set(word) & set('"$`\\!'):
        return f'"{word}"'
    return shlex.quote(word)
