"""Which values the keys of a composed config take: told from another value of the same type where that is certain."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Optional, Union

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from hydra_plugins.hydra_wandb_sweeper._override_text import OverrideReader
from hydra_plugins.hydra_wandb_sweeper._validate import Places
from hydra_plugins.hydra_wandb_sweeper._values import render


class Colour(Enum):
    RED = 1
    BLUE = 2


@dataclass
class Conf:
    whole: int = 1
    real: float = 1.0
    text: str = "a"
    flag: bool = True
    colour: Colour = Colour.RED
    path: Path = Path("a")
    raw: bytes = b"a"
    perhaps: Optional[int] = None  # noqa: UP045 (read by OmegaConf)
    either: Union[int, str] = 1  # noqa: UP007 (read by OmegaConf)
    anything: Any = 1


KEYS = [*vars(Conf()), "absent"]
VALUES = [
    *(0, 1, 2, 3, -1, 2**60, 2**70, 10**400, 0.5, 1.0, 1e300, float("inf"), float("nan"), True, False, None),
    *("a", "b", "RED", "1", "2.5", "true", "${text}", "${", "???", "", "${nothing}", [1], [], {"a": 1}, {}),
]


read = functools.cache(OverrideReader(OverridesParser.create()).read)


def fits(key: str, value: Any) -> bool:
    """What the composed config says of a value by itself."""
    config: DictConfig = OmegaConf.structured(Conf)
    try:
        OmegaConf.update(config, key, value, merge=True)
    except OmegaConfBaseException:
        return False
    return True


def takes(key: str, values: Sequence[Any]) -> list[bool | str]:
    places = Places(OmegaConf.structured(Conf))
    return [told(lambda v=v: places.take(read(f"{key}={render(v)}"))) for v in values]


def told(question: Any) -> bool | str:
    """The answer, or the name of an error that isn't OmegaConf's: the same with or without the short cut."""
    try:
        return bool(question())
    except (ArithmeticError, ValueError) as error:
        return type(error).__name__


@pytest.mark.parametrize("key", KEYS)
@settings(max_examples=40)
@given(st.lists(st.sampled_from(VALUES), min_size=1, max_size=6))
def test_a_value_is_taken_only_if_it_would_be_as_the_only_one(key: str, values: list[Any]) -> None:
    for value, taken in zip(values, takes(key, values), strict=True):
        assert taken in (False, told(lambda v=value: fits(key, v))), value  # False: Hydra is asked


@pytest.mark.parametrize("key", KEYS)
@settings(max_examples=40)
@given(st.lists(st.sampled_from([v for v in VALUES if not isinstance(v, list | dict)]), min_size=1, max_size=6))
def test_scalars_that_would_be_taken_need_no_hydra(key: str, values: list[Any]) -> None:
    assert takes(key, values) == [told(lambda v=v: fits(key, v)) for v in values]
