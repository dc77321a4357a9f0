"""Interpolations that only name a value of Hydra's part of a config, without OmegaConf's parser.

`${hydra.job.num}`, or `${hydra.runtime.output_dir}/${hydra.job.name}.log`: for the parser to read one takes 2 ms in
a forked process, as nearly all that it touches has to be copied first. What isn't as plain is left to OmegaConf.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

_NAME = re.compile(r"\$\{(hydra(?:\.[A-Za-z_]\w*)+)\}")


# OmegaConf asks this resolver of Hydra's once for each text, and copies of a config have its answer.
_TIME = re.compile(r"\$\{now:[^{}$\\]*\}")


def text_at(config: DictConfig, mapping: str, key: str, known: Mapping[str, str]) -> str:
    """Return str() of the value of a key. mapping: where it is, as `hydra.sweep`. Errors: OmegaConf's.

    known: from known_time, of a config that this one is a copy of.
    """
    node = OmegaConf.select(config, mapping)
    content: Any = OmegaConf.to_container(node, resolve=False)
    if (raw := content[key]) in known:
        return known[raw]
    value = _named(config, raw) if _may_name(raw) else None
    return str(node[key] if value is None else value)


def known_time(mapping: DictConfig, key: str) -> dict[str, str]:
    """Return what the text of a key means if it has nothing but times in it, by what stands there."""
    content: Any = OmegaConf.to_container(mapping, resolve=False)
    raw = str(content[key])
    return {raw: str(mapping[key])} if _TIME.search(raw) and "$" not in _TIME.sub("", raw) else {}


@contextlib.contextmanager
def with_values(config: DictConfig, part: Any) -> Iterator[None]:
    """While active, texts in mappings of a part of a config have the values that they name."""
    replaced: list[tuple[DictConfig, str, str]] = []
    try:
        if part is not None:
            for mapping, key, raw in _texts(part, OmegaConf.to_container(part, resolve=False)):
                value = _named(config, raw)
                if value is not None:
                    replaced.append((mapping, key, raw))
                    _set(mapping, key, value)
        yield
    finally:
        for mapping, key, raw in replaced:
            _set(mapping, key, raw)


def _texts(node: DictConfig, content: Any) -> Iterator[tuple[DictConfig, str, str]]:
    """The texts that may name values: mapping, key and text."""
    if isinstance(content, Mapping):
        for key, value in content.items():
            if _may_name(value):
                yield node, key, value
            elif isinstance(value, Mapping):
                yield from _texts(node[key], value)


def _may_name(value: Any) -> bool:
    return isinstance(value, str) and "${hydra." in value


def _named(config: DictConfig, text: str) -> str | int | None:
    """What a text with names means; None if there is more in it, or in a value."""
    if any(sign in _NAME.sub("", text) for sign in "$\\"):
        return None
    try:
        values = {name: OmegaConf.select(config, name) for name in _NAME.findall(text)}
    except OmegaConfBaseException:
        return None
    if any(type(value) not in (str, int) or "$" in str(value) or "\\" in str(value) for value in values.values()):
        return None
    whole = _NAME.fullmatch(text)
    return values[whole[1]] if whole else _NAME.sub(lambda name: str(values[name[1]]), text)


def _set(mapping: DictConfig, key: str, value: Any) -> None:
    with read_write(mapping), open_dict(mapping):
        mapping[key] = value
