"""How often Python searches for garbage while a sweep is made."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from hydra_plugins.hydra_wandb_sweeper._garbage import rarely_searched


@pytest.fixture
def thresholds() -> Iterator[None]:
    """Those that this process has are as they were afterwards."""
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


@pytest.mark.usefixtures("thresholds")
@pytest.mark.parametrize(
    ("before", "meanwhile"), [((700, 10, 10), 100_000), ((500_000, 10, 10), 500_000), ((0, 10, 10), 0)]
)
def test_it_searches_rarely_meanwhile_and_afterwards_as_before(before: tuple[int, int, int], meanwhile: int) -> None:
    gc.set_threshold(*before)
    with rarely_searched():
        assert gc.get_threshold()[0] == meanwhile
    assert gc.get_threshold() == before


@pytest.mark.usefixtures("thresholds")
def test_it_is_as_before_after_an_error_too() -> None:
    gc.set_threshold(700, 10, 10)
    with pytest.raises(ValueError, match="no good"), rarely_searched():
        raise ValueError("no good")
    assert gc.get_threshold() == (700, 10, 10)
