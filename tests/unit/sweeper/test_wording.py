"""Figures and foreign texts as people read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_plugins.hydra_wandb_sweeper._wording import duration_text, one_line, shown_values


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 s"),
        (-1.0, "0 s"),
        (0.42, "0.42 s"),
        (3.14159, "3.1 s"),
        (9.99, "10 s"),
        (12.3, "12 s"),
        (59.6, "1 min"),
        (60, "1 min"),
        (200, "3 min 20 s"),
        (3599.7, "1 h"),
        (7140, "1 h 59 min"),
        (86400, "1 d"),
        (183_600, "2 d 3 h"),
    ],
)
def test_a_length_of_time_has_two_units_at_most(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@given(st.text())
def test_any_text_becomes_one_line_that_does_nothing_to_a_terminal(text: str) -> None:
    line = one_line(text)
    assert line.isprintable()
    assert len(line) == len(text)


def test_what_a_run_says_in_colours_is_shown_without_its_escapes() -> None:
    assert one_line("\x1b[31mValueError: a\tb\n") == "\ufffd[31mValueError: a b "


@pytest.mark.parametrize(
    ("most_chars", "text"),
    [
        (None, "lr=0.1 model=cnn note=a b"),
        (25, "lr=0.1 model=cnn note=a b"),
        (24, "lr=0.1 model=cnn …"),
        (15, "lr=0.1 …"),
        (1, "lr=0.1 …"),
    ],
)
def test_parameters_that_are_too_many_for_a_line_are_left_out_from_the_end(most_chars: int | None, text: str) -> None:
    assert shown_values({"lr": 0.1, "model": "cnn", "note": "a\nb"}, most_chars) == text


@given(st.dictionaries(st.text(max_size=9), st.text(max_size=200)), st.integers(1, 300))
def test_parameters_are_one_line_of_about_that_length(values: dict[str, str], most_chars: int) -> None:
    text = shown_values(values, most_chars)
    assert text.isprintable()
    assert len(text) <= max(most_chars, 80) + 2
