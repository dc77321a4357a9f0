"""`hydra.sweeper.trials`: a sweep given trial by trial, as a list or a file of command lines.

Each line is checked with Hydra's own parser before anything exists. What it may not do is what `python train.py -m`
can't do within one trial either: sweep, and change Hydra's own configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from ._errors import SettingError
from ._override_text import OverrideReader, ReadOverride
from ._trial_line import join_line, split_line

_FIELD = "trials"


@dataclass(frozen=True)
class TrialLine:
    """One trial of the list.

    place: where it stands, for messages ('line 3 of trials.txt'). overrides: texts as the user wrote them. keys: what
    they set or delete, without prefixes, with packages ('lr', 'db@src').
    """

    place: str
    overrides: tuple[str, ...]
    keys: tuple[str, ...]

    @property
    def text(self) -> str:
        """The overrides as one line: the trial's value on the server."""
        return join_line(self.overrides)


def read_trials(
    setting: str | Sequence[Any] | None,
    config_loader: ConfigLoader,
    read_text: Callable[[Path], str] = lambda path: path.read_text(encoding="utf-8"),
) -> tuple[TrialLine, ...]:
    """Return the trials of the list, in its order; none if there is no list.

    setting: a list of lines, or of lists of overrides; or the name of a file with a line per trial (relative to the
    working directory; blank lines and those that begin with `#` don't count).
    Errors: SettingError with the line, where it stands, and the rule.
    """
    if setting is None:
        return ()
    reader = OverrideReader(OverridesParser.create(config_loader=config_loader))
    entries = _file_entries(setting, read_text) if isinstance(setting, str) else _list_entries(setting)
    lines: list[TrialLine] = []
    places: dict[tuple[str, ...], str] = {}
    for place, entry in entries:
        line, identity = _parse(reader, place, entry)
        if identity in places:
            raise SettingError(
                _FIELD,
                line.text,
                f"{place} says the same as {places[identity]}, and a configuration runs once; leave one out, or tell "
                "them apart by a key (seed=1, seed=2)",
            )
        places[identity] = place
        lines.append(line)
    if not lines:
        raise SettingError(_FIELD, setting, "has no trial; each is a line of overrides, such as 'model=small lr=0.1'")
    return tuple(lines)


def refuse_shared_keys(trials: Sequence[TrialLine], keys: Iterable[str]) -> None:
    """Refuse a key that the list and something beside it set: either would silently win.

    keys: key elements of what is beside it, with prefixes ('+db@src'). Errors: SettingError.
    """
    beside = {key.lstrip("+~") for key in keys}
    for trial in trials:
        if shared := [key for key in trial.keys if key in beside]:
            raise SettingError(
                _FIELD,
                trial.text,
                f"{trial.place} sets '{shared[0]}', which is also set beside the list (on the command line, in "
                "hydra.sweeper.params or in the sweep file); a key belongs to one of them: leave it out of the other",
            )


def _file_entries(name: str, read_text: Callable[[Path], str]) -> Iterator[tuple[str, Any]]:
    path = Path(name).expanduser()
    try:
        text = read_text(path)
    except FileNotFoundError:
        raise SettingError(
            _FIELD,
            name,
            f"no such file (looked for {path.absolute()}); trials that aren't in a file are a list, such as "
            "['a=1 b=2','a=3']",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(_FIELD, name, f"can't be read as a text file ({error})") from error
    # Not splitlines(): that also splits at characters that may stand in a value.
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        stripped = line.strip()
        if stripped and not stripped.startswith("#"):
            yield f"line {number} of {name}", stripped


def _list_entries(entries: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    for number, entry in enumerate(entries, start=1):
        yield f"entry {number} of the list", entry


def _parse(reader: OverrideReader, place: str, entry: Any) -> tuple[TrialLine, tuple[str, ...]]:
    """Return a trial, and what is the same for trials that mean the same."""
    texts = _split(place, entry)
    overrides = [_read_override(reader, place, text) for text in texts]
    for override in overrides:
        _check(place, override)
    keys = tuple(override.key_element.lstrip("+~") for override in overrides)
    # By value, so that 1e-3 is 0.001 and 'x' is x, while 1 and 1.0 differ.
    identity = sorted(f"{override.key_element}={override.value!r}" for override in overrides)
    return TrialLine(place, tuple(texts), keys), tuple(identity)


def _split(place: str, entry: Any) -> list[str]:
    if isinstance(entry, str):
        try:
            texts = split_line(entry)
        except ValueError as error:
            raise SettingError(_FIELD, entry, f"{place} isn't quoted as on a command line ({error})") from None
    elif isinstance(entry, list) and all(isinstance(text, str) for text in entry):
        texts = list(entry)
    else:
        raise SettingError(
            _FIELD, entry, f"{place} must be a line of overrides ('model=small lr=0.1') or a list of override strings"
        )
    if not texts:
        raise SettingError(
            _FIELD, entry, f"{place} overrides nothing; for the defaults, give one key the value that it has anyway"
        )
    return texts


def _read_override(reader: OverrideReader, place: str, text: str) -> ReadOverride:
    try:
        return reader.read(text)
    except HydraException as error:
        raise SettingError(_FIELD, text, f"{place} isn't a Hydra override: {error}") from error


def _check(place: str, override: ReadOverride) -> None:
    if override.is_sweep:
        raise SettingError(
            _FIELD,
            override.text,
            f"{place} sweeps, but a line is one trial; write a line per value, or sweep the key for all lines beside "
            "the list (on the command line); a comma in a text wants quotes within quotes: \"key='a,b'\"",
        )
    if override.is_hydra:
        raise SettingError(
            _FIELD,
            override.text,
            f"{place} changes Hydra's own configuration, which is one for all trials of a sweep; give it on the "
            "command line",
        )
