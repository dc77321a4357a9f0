"""Independent draws, with replacement."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from .space import Dimension, build_args


class RandomSearch:
    """Trial k is drawn by a generator seeded with (seed, k) and so needs no memory of the others."""

    trial_count = None

    def __init__(self, dimensions: Sequence[Dimension], seed: int) -> None:
        self._dimensions = tuple(dimensions)
        self._seed = seed

    def args(self, index: int) -> dict[str, Any]:
        """Trial number `index`, from 0."""
        # A text seed is hashed the same way in every Python version and process.
        rng = random.Random(f"{self._seed}:{index}")
        return build_args((dimension, dimension.distribution.draw(rng)) for dimension in self._dimensions)
