"""A config's YAML is OmegaConf's, to the byte, whatever has been learnt before."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from hydra_plugins.hydra_wandb_sweeper._yaml_text import YamlText

TEXTS = st.text(max_size=12) | st.sampled_from(
    ["", " ", "a: b", "yes", "null", "~", "1e3", "1_000", "0x1F", "???", "${x}", "${x}-${y}", "a\nb", "a\n", "\t",
     "é", "\u2028", "# no comment", "'", '"', "- a", "{}", "[]", "*a", "&a", "%", "a " * 60, "a" * 200, "\\", "1:30"]
)  # fmt: skip
KEYS = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=9) | st.sampled_from(
    ["hydra", "on", "1", "a b", "a: b", "k" * 140, "#", "'", ""]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
CONFIGS = st.dictionaries(KEYS, VALUES, max_size=5)
HYDRAS = st.dictionaries(KEYS, VALUES, max_size=5).map(lambda value: {"hydra": value})


def config_of(value: Mapping[str, Any]) -> DictConfig:
    try:
        return OmegaConf.create(dict(value))
    except Exception:  # noqa: BLE001 (a broken interpolation: there is no such config)
        return OmegaConf.create({})


@given(CONFIGS | HYDRAS, CONFIGS | HYDRAS)
def test_the_text_is_that_of_omegaconf_whatever_was_learnt(
    learnt: Mapping[str, Any], given_: Mapping[str, Any]
) -> None:
    text, config = YamlText(), config_of(given_)
    text.learn(config_of(learnt))
    assert text.of(config) == OmegaConf.to_yaml(config)
    text.learn(config)
    assert text.of(config) == OmegaConf.to_yaml(config)
    mixed = config_of({**learnt, **given_})
    assert text.of(mixed) == OmegaConf.to_yaml(mixed)


@pytest.mark.parametrize(
    ("learnt", "value"),
    [(1, True), (1, 1.0), (0.0, -0.0), ("1", 1), (None, "null"), ({"a": 1, "b": 2}, {"b": 2, "a": 1}), ([], {})],
    ids=repr,
)
def test_what_python_calls_equal_is_told_apart(learnt: Any, value: Any) -> None:
    text, config = YamlText(), OmegaConf.create({"x": value})
    text.learn(OmegaConf.create({"x": learnt}))
    assert text.of(config) == OmegaConf.to_yaml(config)


class Color(Enum):
    RED = 1


SHARED = Path("somewhere")


@pytest.mark.parametrize(
    "value",
    [
        {"x": Color.RED},
        {Color.RED: 1},
        {1: "x", 2.5: 2},
        {"x": SHARED, "y": SHARED},
        {"x": b"bytes"},
        {"x": [SHARED]},
    ],
    ids=repr,
)
def test_what_is_no_plain_value_is_left_to_omegaconf(value: Any) -> None:
    text, config = YamlText(), OmegaConf.create(value)
    text.learn(config)
    assert text.of(config) == OmegaConf.to_yaml(config)


def test_what_was_learnt_is_not_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
    text = YamlText()
    text.learn(OmegaConf.create({"hydra": {"job": {"num": 0}, "run": {"dir": "x"}}, "model": {"layers": [1, 2]}}))
    config = OmegaConf.create({"hydra": {"job": {"num": 1}, "run": {"dir": "x"}}, "model": {"layers": [1, 2]}})
    written = []
    to_yaml = OmegaConf.to_yaml
    monkeypatch.setattr(OmegaConf, "to_yaml", lambda part: written.append(part) or to_yaml(part))  # type: ignore[func-returns-value]
    assert text.of(config) == to_yaml(config)
    assert written == [{"hydra": {"job": {"num": 1}}}]
