"""Configs are written as OmegaConf writes them, whatever is in them and whatever was written before."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from hydra_plugins.hydra_wandb_sweeper._config_text import ConfigWriter


class Colour(enum.Enum):
    RED = 1


LONG = "some words that don't fit into one line " * 4
CASES: dict[str, Any] = {
    "words": {"a": "b", "c": "two words", "d": "", "e": "yes", "f": "null", "g": "1e3", "h": "- x", "i": "a: b # c"},
    "other than words": {"a": 1, "b": 1.0, "c": True, "d": None, "e": -0.0, "f": 0.0, "g": float("nan"), "h": 1e-05},
    "looks like others": {"a": "1", "b": "1.0", "c": "True", "d": "~", "e": "0x1f", "f": "1_0", "g": "2026-11-28"},
    "interpolations": {"a": "${b}", "b": "${oc.env:HOME,'x y'}", "c": {"d": "${..a}"}, "e": "???", "f": "\\${a}"},
    "levels": {"a": {"b": {"c": [1, {"d": 2, "e": [3, [4, [5]], {"f": {"g": 6}}]}]}}, "h": []},
    "empty": {"a": {}, "b": [], "c": [{}, [], [{}]], "d": {"e": {}}},
    "long": {
        "a": LONG,
        "b": {"c": LONG, "d": [LONG, {"e": LONG}]},
        "f": "x" * 200,
        "g": "é" * 200,
        "h": "\x07 " * 60,
    },
    "just fits": {"k" * 8: " ".join(["words"] * 12), "l": {"k" * 8: [" ".join(["words"] * 12), "a " * 39 + "b"]}},
    "lines": {"a": "b\nc", "d": ["e\n\nf\n"], "g": "\n", "h": "tab\tx", "i": "\r", "j": "a\u2028b", "k": "\x85"},
    "letters": {"ключ": "значение", "emoji": "🐝", "bell": "\x07", "'": '"', "quoted 'key'": "it's", '"': "\\"},
    "keys": {"yes": 1, "1": 2, "a: b": 3, " ": 4, "- x": 5, "a" * 99: 6},
    "an empty key": {"": 1, "a": {"": 2}},
    "a long key": {"a" * 200: 1, "a b " * 30: 2},
    "keys of several lines": {"a\nb": 1, "a": {" \x85": 2}},
    "keys that are no words": {2: "a", 1.5: "b", True: "c", Colour.RED: "d"},
    "values that are no words": {"a": b"bytes", "b": Path("/x"), "c": Colour.RED},
    "nothing": {},
    "a list": ["a", 1, {"b": [LONG]}, [LONG]],
    "no list": [],
}


ASKS_FOR = pytest.mark.parametrize("few_words", [0, 1000], ids=["whole configs", "words"])


@ASKS_FOR
@pytest.mark.parametrize("content", CASES.values(), ids=CASES)
def test_a_config_is_written_as_by_omegaconf_the_first_and_every_other_time(content: Any, few_words: int) -> None:
    config, expected = OmegaConf.create(content), OmegaConf.to_yaml(OmegaConf.create(content))
    new, knows_another = ConfigWriter(few_words), ConfigWriter(few_words)
    knows_another.to_yaml(OmegaConf.create({"a": {"b": "c"}}))
    for writer in (new, knows_another):
        assert [writer.to_yaml(config) for _ in range(3)] == [expected] * 3


@ASKS_FOR
def test_what_one_config_has_taught_is_right_for_all_others(few_words: int) -> None:
    writer = ConfigWriter(few_words)
    for _ in range(2):
        for content in CASES.values():
            config = OmegaConf.create(content)
            assert writer.to_yaml(config) == OmegaConf.to_yaml(config)


def test_a_config_that_is_missing_or_none_or_an_interpolation_is_what_omegaconf_says_of_it() -> None:
    writer = ConfigWriter()
    writer.to_yaml(OmegaConf.create({"a": "b"}))
    for value in (None, "???", "${target}"):
        config = DictConfig(value)
        assert writer.to_yaml(config) == OmegaConf.to_yaml(config)


letters = st.sampled_from([*"ab1 .:-#'\"\\\n\t{}[]&*!|>%@`~=<,?_e+é🐝", "\u2028", "\x85", "\r", "\x07", "\ufeff"])
words = (
    st.text(letters, max_size=12)
    | st.text(letters, min_size=60, max_size=130)
    | st.lists(st.sampled_from(["word", "it's", "a:", '"', "é", "no"]), max_size=40).map(" ".join)
    # What trials have of their own: overrides, directories, ids.
    | st.lists(
        st.sampled_from([*"=/_.-ye1", "x", "lr", "nan", "inf", "no", "null", "True", "0x", "1e", "2026"]), min_size=1
    ).map("".join)
    | st.sampled_from(
        ["yes", "No", "on", "null", "~", "nan", ".inf", "1e5", "0o7", "2026-11-28", "<<", "=", "${a}", "???"]
    )
)
scalars = (
    words | st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from([b"x", Path("x"), Colour.RED])
)
contents = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(words | st.sampled_from(["a", "b", "c"]), inner, max_size=4)
        | st.dictionaries(st.integers() | st.booleans() | words, inner, max_size=2)
    ),
    max_leaves=20,
)


@given(
    st.lists(st.dictionaries(words, contents, max_size=5) | st.lists(contents, max_size=5), max_size=4),
    st.sampled_from([0, 5, 1000]),
)
def test_any_series_of_configs_is_written_as_by_omegaconf(series: list[Any], few_words: int) -> None:
    writer = ConfigWriter(few_words, most_words=40)
    for content in series:
        try:
            config = OmegaConf.create(content)
            expected = OmegaConf.to_yaml(config)
        except OmegaConfBaseException:  # no interpolation, and no words either
            continue
        assert writer.to_yaml(config) == expected
