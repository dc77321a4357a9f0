"""A job's config, with what Hydra is to hold of it while the job runs.

Hydra holds a copy of the config's part `hydra` (HydraConfig), made when all that is the job's own stands in it, and
writes it into hydra.yaml. In a forked process the one takes 4 ms and the other 2, so an agent does both with what all
its trials have in common: what a job changes from then on is changed in both copies, and only that is written anew.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from ._config_text import config_text, content_text
from ._named_values import known_time

_HEAD = "hydra:\n"


@dataclass(frozen=True, eq=False, repr=False)
class Held:
    """config: what HydraConfig is to hold. texts: of each part of its `hydra`, as hydra.yaml has it.

    times: of its hydra.sweep.dir, for which the sweep has asked, so that it is the same in all trials (known_time).
    """

    config: Any
    texts: Mapping[str, str]
    times: Mapping[str, str]

    @classmethod
    def of(cls, config: DictConfig) -> Held:
        """Make it of a config: there it finds what is interpolated from outside `hydra`, which is read-only then.

        Errors: TypeError if the parts of `hydra` can't be written one by one; Hydra's.
        """
        singleton = HydraConfig.instance()
        before = singleton.cfg
        try:
            singleton.set_config(config)
            held: Any = singleton.cfg
        finally:
            singleton.cfg = before
        content = OmegaConf.to_container(held.hydra, enum_to_str=True)
        assert isinstance(content, dict)
        if not _is_plain(content):
            raise TypeError("YAML writes what two parts have in common only once")
        texts = {str(part): _text(str(part), value) for part, value in content.items()}
        return cls(held, texts, known_time(config.hydra.sweep, "dir"))


@dataclass(frozen=True, eq=False, repr=False)
class JobConfig:
    """config: of the job, with `hydra`; its own. held: what Hydra is to hold of it, None if that isn't made."""

    config: DictConfig
    held: Held | None = None
    _changed: set[str] = field(default_factory=set)

    def change_hydra(self, part: str, change: Callable[[Any], None]) -> None:
        """Change a mapping that is a part of `hydra`. change: does so; it is called once for each copy."""
        self._changed.add(part)
        for config in (self.config, *([self.held.config] if self.held is not None else [])):
            mapping = config.hydra[part]
            # Not of the whole `hydra`: what is below such a flag is told of it, one by one.
            with read_write(mapping), open_dict(mapping):
                change(mapping)

    def hold(self) -> Any:
        """Have Hydra hold it from now on, as HydraConfig.set_config(config) does; returns what it holds."""
        if self.held is None:
            HydraConfig.instance().set_config(self.config)
        else:
            HydraConfig.instance().cfg = self.held.config
        return HydraConfig.instance().cfg

    def held_text(self, holds: DictConfig) -> str:
        """Return the content of hydra.yaml. holds: what Hydra holds, or a copy."""
        if self.held is not None:
            with contextlib.suppress(Exception):  # whatever it is, OmegaConf says it better
                parts = {part: OmegaConf.to_container(holds.hydra[part], enum_to_str=True) for part in self._changed}
                changed = {part: _text(part, content) for part, content in parts.items()}
                return _HEAD + "".join({**self.held.texts, **changed}.values())
        return config_text(holds)


def _is_plain(content: Any) -> bool:
    """True if there is nothing in a container that YAML would refer to where it comes again."""
    if isinstance(content, dict | list):
        return all(map(_is_plain, content.values() if isinstance(content, dict) else content))
    return content is None or isinstance(content, str | bool | int | float)


def _text(part: str, content: Any) -> str:
    return content_text({"hydra": {part: content}}).removeprefix(_HEAD)
