"""Overrides that are read without Hydra's parser mean what that parser makes of them."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser, create_functions
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException
from hypothesis import example, given
from hypothesis import strategies as st

from hydra_plugins.hydra_wandb_sweeper._override_text import OverrideReader, ReadOverride, simple_value
from hydra_plugins.hydra_wandb_sweeper._trial_line import split_line
from tests.unit.sweeper.test_values import same

# Texts of the grammar's own alphabet: most are no simple values, and some are none at all.
ALPHABET = st.text(st.sampled_from("019.+-eE_aZnulNtrue'\"\\ ,=()[]{}$:/é\t"), max_size=9)
LIKELY = st.one_of(
    st.integers().map(str),
    st.floats(allow_nan=False).map(repr),
    st.from_regex(r"[+-]?[0-9]{1,3}(\.[0-9]{0,3})?([eE][+-]?[0-9]{1,4})?", fullmatch=True),
    st.from_regex(r"[A-Za-z_/][A-Za-z0-9_/.+*%@ -]{0,6}", fullmatch=True),
    st.sampled_from(
        [
            "true",
            "False",
            "NULL",
            "nan",
            "Inf",
            "none",
            "nan 1",
            "null -",
            "on",
            "yes",
            "''",
            "0x1",
            "1_0",
            "-0",
            "01",
        ]
    ),
    st.text(max_size=8).map(lambda text: f"'{text}'"),
)
KEYS = st.sampled_from(
    ["a", "+a", "++a.b", "~a", "db@src", "+db@src.x", "a/b", "hydra.verbose", "hydra/launcher", "", "1", "a b"]
)


def hydra_reads(text: str) -> ReadOverride | None:
    try:
        (override,) = OverridesParser.create().parse_overrides([text])
    except HydraException:
        return None
    return ReadOverride(
        text,
        override.get_key_element(),
        override.key_or_group,
        override.value(),
        override.type is OverrideType.DEL,
        override.is_sweep_override(),
        override.is_hydra_override(),
    )


class CountingParser(OverridesParser):
    """Hydra's parser, which notes what it was given."""

    parsed: tuple[str, ...] | list[str] = ()

    def parse_overrides(self, overrides: list[str]) -> list[Override]:
        self.parsed = [*self.parsed, *overrides]
        return super().parse_overrides(overrides)


def reads(text: str) -> ReadOverride | None:
    try:
        return OverrideReader(OverridesParser.create()).read(text)
    except HydraException:
        return None


def told_apart(read: ReadOverride | None) -> Any:
    """1 and 1.0 are equal for Python, and nan isn't even to itself."""
    return read and {**vars(read), "value": (type(read.value), repr(read.value))}


@given(KEYS, st.one_of(ALPHABET, LIKELY))
@example("a", "1e400")
@example("~a", "1")
@example("a", "'it is'")
def test_an_override_means_what_hydra_makes_of_it(key: str, value: str) -> None:
    text = f"{key}={value}"
    read, by_hydra = reads(text), hydra_reads(text)
    if by_hydra is not None and by_hydra.is_sweep:
        assert read is not None
        assert (read.key_element, read.is_sweep) == (by_hydra.key_element, True)
        return
    assert told_apart(read) == told_apart(by_hydra)


@pytest.mark.parametrize("text", ["1", "-1.5e-3", "word", "'two words'", "True"])
def test_of_simple_overrides_only_the_first_of_a_key_is_parsed(text: str) -> None:
    parser = CountingParser(functions=create_functions())
    reader = OverrideReader(parser)
    for _ in range(3):
        assert same(reader.read(f"a={text}").value, simple_value(text))
    assert parser.parsed == ["a=0"]


def test_an_error_is_hydras_own_and_shows_the_text_as_it_was_given() -> None:
    with pytest.raises(HydraException, match="a b=word"):
        OverrideReader(OverridesParser.create()).read("a b=word")


@given(st.text(st.characters(exclude_characters="'\"\\", exclude_categories=["Cs"])))
@example("a=1\x0bb=2\x0c c=3\u2003d=4\r\n e=5")
def test_a_line_without_quotes_is_taken_apart_as_a_shell_would(line: str) -> None:
    assert split_line(line) == shlex.split(line)
