"""Configs as YAML, without writing again what is the same in all trials of an agent.

The YAML of a trial's config is 3 ms of Python, most of it for Hydra's own part, of which a few lines differ between
trials; in real projects the task's part is as large. A mapping's text is that of its entries, one after another, so
texts of entries are kept, and found again by their content.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

# Some hundred bytes each; a config has some dozen.
_MOST_TEXTS = 2000
# Its entries are taken one by one: two or three of them are the trial's.
_SPLIT = "hydra"
_HEAD = f"{_SPLIT}:\n"


class _Unknown(Exception):
    """Of this part it isn't known that its text doesn't depend on the others."""


class YamlText:
    """Writes configs exactly as OmegaConf.to_yaml does."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def learn(self, config: DictConfig) -> None:
        """Keep the texts of a config's parts."""
        if len(self._known) < _MOST_TEXTS:
            try:
                for path, value in _parts(_contained(config)):
                    self._known[repr((path, value))] = _text(path, value)
            except _Unknown:
                return

    def of(self, config: DictConfig) -> str:
        """Return a config as YAML, interpolations as they are written."""
        try:
            return self._assembled(_contained(config))
        except _Unknown:
            return OmegaConf.to_yaml(config)

    def _assembled(self, contained: Mapping[Any, Any]) -> str:
        lines = []
        is_split = False
        for path, value in _parts(contained):
            if len(path) > 1 and not is_split:
                is_split = True
                lines.append(_HEAD)
            lines.append(self._known.get(repr((path, value))) or _text(path, value))
        return "".join(lines) or "{}\n"


def _contained(config: DictConfig) -> Mapping[Any, Any]:
    contained = OmegaConf.to_container(config, resolve=False, enum_to_str=True)
    if not isinstance(contained, dict):
        raise _Unknown
    return contained


def _parts(contained: Mapping[Any, Any]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    for key, value in contained.items():
        if key == _SPLIT and isinstance(value, dict) and value:
            yield from (((key, inner), part) for inner, part in value.items())
        else:
            yield (key,), value


def _text(path: tuple[Any, ...], value: Any) -> str:
    """The lines of one part, at its place."""
    if not all(isinstance(key, str) for key in path) or not _is_plain(value):
        raise _Unknown
    whole = value
    for key in reversed(path):
        whole = {key: whole}
    text = OmegaConf.to_yaml(OmegaConf.create(whole))
    # Written where it stands, and then cut out: where long lines are broken depends on how far they are indented.
    return text[len(_HEAD) :] if len(path) > 1 else text


def _is_plain(value: Any) -> bool:
    """False for what YAML may write as an anchor and references to it."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(inner) for key, inner in value.items())
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return value is None or type(value) in (str, bool, int, float)
