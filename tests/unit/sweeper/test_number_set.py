"""Trial numbers in little memory."""

from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from hydra_plugins.hydra_wandb_sweeper._number_set import NumberSet

steps = st.lists(st.tuples(st.sampled_from(["add", "discard"]), st.integers(0, 20)))


@given(steps)
def test_it_is_a_set(steps: list[tuple[str, int]]) -> None:
    numbers, reference = NumberSet(), set[int]()
    for name, number in steps:
        getattr(numbers, name)(number)
        getattr(reference, name)(number)
        assert len(numbers) == len(reference)
    assert list(numbers) == sorted(reference)
    assert [number in numbers for number in range(-1, 22)] == [number in reference for number in range(-1, 22)]


def test_many_numbers_take_a_byte_each() -> None:
    tracemalloc.start()
    try:
        numbers = NumberSet()
        for number in range(100_000):
            numbers.add(number)
        assert tracemalloc.get_traced_memory()[0] < 150_000
    finally:
        tracemalloc.stop()
